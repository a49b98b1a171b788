"""Other hosts in the tables of the command line: no column without a link, and HELD and HOST with one."""

from __future__ import annotations

import pytest

from raven import BusClient
from tests.cli.shell import Shell
from tests.cli.test_top import Run, bus, row, run  # noqa: F401 two fixtures
from tests.delivery.test_held import BETA, X, hold, link, show
from tests.support import Foreign

TABLES = {
    "peers": ("peers", ["HELD", "HOST"], ["1", BETA]),
    "receipts": ("receipts 1", ["HOST"], [BETA]),
    "stats": ("stats", ["HELD", "HOST"], ["1", BETA]),
}


@pytest.mark.both_ways
@pytest.mark.parametrize(("command", "headings", "cells"), TABLES.values(), ids=TABLES)
def test_a_table_shows_other_hosts_only_if_one_has_a_part_in_it(
    shell: Shell,
    foreign: Foreign,
    command: str,
    headings: list[str],
    cells: list[str],
) -> None:
    shell.ok("send", "--from", "boss:s", "--to", X, "--to", "boss:s", "-t", "job")

    def table() -> list[list[str]]:
        lines = shell.ok(*command.split()).splitlines()
        at = next(number for number, line in enumerate(lines) if line.startswith(("ADDRESS", "RECIPIENT")))
        return [line.split() for line in lines[at:]]

    before = table()
    link(foreign)
    show(foreign)
    hold(foreign, 1)
    heading, *rows = table()

    assert not {"HELD", "HOST"} & set(before[0])
    assert heading == [*before[0], *headings]
    assert next(line for line in rows if line[0] == X)[-len(cells) :] == cells
    assert next(line for line in rows if line[0] == "boss:s")[-1] == "-"


def test_top_shows_other_hosts_by_role_and_by_address(run: Run, bus: BusClient, foreign: Foreign) -> None:  # noqa: F811
    bus.send([X, "x:t", "y:s"], "job")
    link(foreign)
    show(foreign)
    show(foreign, "x:t", "a-host-with-a-very-long-name")
    hold(foreign, 1)
    terminal = run()

    lines = terminal.shows("q quit")
    assert "held 1" in "\n".join(lines)
    assert next(line for line in lines if line.startswith("ROLE")).split()[-2:] == ["HELD", "HOST"]
    assert row(lines, "x")[-3:] == ["1", "2", "hosts"]
    assert row(lines, "y")[-2:] == ["0", "-"]

    terminal.press("a")
    lines = terminal.shows("by role")
    assert row(lines, X)[-2:] == ["1", BETA]
    assert row(lines, "x:t")[-1] == "a-host-wit"
