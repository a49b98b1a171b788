"""`raven stats`: tables for a person, JSON for a script, the same through the server."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from raven import BusClient, Stats
from raven.cli import output
from tests.cli.shell import Shell
from tests.rpc_server import Served
from tests.support import Foreign

Sent = Callable[..., str]


def stripped(printed: str) -> list[list[str]]:
    """Split a table into its cells: two blanks or more stand between them."""
    return [[cell.strip() for cell in line.split("  ") if cell] for line in printed.splitlines()]


def test_stats_shows_tables_of_states_latencies_and_addresses(shell: Shell, sent: Sent) -> None:
    sent()
    sent("--delay", "1h")
    sent(to="verifier:swarm-1")
    shell.ok("inbox", "-a", "verifier:swarm-1")
    shell.ok("ack", "3")

    shown = stripped(shell.ok("stats"))

    assert shown[0] == ["MESSAGES", "SENT", "DELIVERED", "ACKED", "EXPIRED", "DEAD"]
    assert shown[1] == ["3", "2", "0", "1", "0", "0"]
    assert shown[3] == ["READY", "DELAYED", "IN FLIGHT", "FILE", "WAL", "FREE"]
    assert shown[4][:3] == ["1", "1", "0"]
    assert ["per second: 0.05 sent, 0.02 delivered, 0.02 acked"] in shown
    assert [row[:2] for row in shown if row[:1] in (["send to deliver"], ["deliver to ack"])] == [
        ["send to deliver", "1"],
        ["deliver to ack", "1"],
    ]
    start = shown.index(["ADDRESS", "WAITING", "READY", "DELAYED", "IN FLIGHT", "DEAD", "OLDEST", "RATE"])
    table = {row[0]: row[1:6] for row in shown[start + 1 :]}
    assert table["architect:swarm-1"] == ["0", "1", "1", "0", "0"]
    assert table["verifier:swarm-1"] == ["0", "0", "0", "0", "0"]


def test_stats_shows_attempts_where_some_were_made(shell: Shell, sent: Sent) -> None:
    sent()
    assert "ATTEMPT" not in shell.ok("stats")
    with BusClient.at("architect:swarm-1", shell.db) as bus:
        for _ in range(3):
            bus.nack(bus.claim()[0].id)

    shown = stripped(shell.ok("stats"))

    assert shown[shown.index(["ATTEMPT", "UNFINISHED"]) + 1] == ["3", "1"]


def test_stats_as_json_is_the_shape_of_the_library(shell: Shell, sent: Sent) -> None:
    sent()

    stats = shell.json("stats", "-j")

    assert Stats.from_dict(stats).as_dict() == stats
    assert stats["messages"] == stats["ready"] == stats["deliveries"]["sent"] == 1


def test_stats_are_the_same_through_the_server(shell: Shell, sent: Sent, serve: Callable[..., Served]) -> None:
    sent("--delay", "1h")
    served = serve()

    def seen(*options: str) -> list[list[str]]:
        return [row for row in stripped(shell.ok("stats", *options)) if "KiB" not in " ".join(row)]

    assert seen("--socket", served.path) == seen()
    assert shell.json("stats", "-j", "--socket", served.path).keys() == shell.json("stats", "-j").keys()


def test_stats_of_a_bus_that_nobody_has_used_shows_noughts(shell: Shell) -> None:
    shell.ok("init")

    shown = stripped(shell.ok("stats"))

    assert shown[1] == ["0"] * 6
    assert ["ADDRESS"] not in [row[:1] for row in shown]


def test_stats_escapes_what_a_foreign_writer_called_an_address(shell: Shell, sent: Sent, foreign: Foreign) -> None:
    sent()
    foreign.execute("UPDATE deliveries SET recipient = ?", "evil\x1b[31m:s")

    shown = shell.ok("stats")

    assert "evil\\x1b[31m:s" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize(("seconds", "text"), [(60, "1m"), (7200, "2h"), (3 * 86400, "3d")])
def test_a_long_span_is_told_in_its_largest_unit(seconds: float, text: str) -> None:
    assert output.format_duration(seconds) == text


@pytest.mark.parametrize(("count", "text"), [(5 << 20, "5.0 MiB"), (3 << 30, "3.0 GiB"), (2048 << 40, "2,048.0 TiB")])
def test_a_large_size_is_told_in_its_largest_unit(count: int, text: str) -> None:
    assert output.format_size(count) == text
