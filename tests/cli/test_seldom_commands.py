"""Commands in what seldom happens to them: a full disk behind the output, a Python without curses, no bus to ask."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout, suppress
from pathlib import Path

import click
import pytest

from raven import BusClient, DatabaseError
from raven.cli.app import run
from raven.cli.commands.subscribe import run_command
from raven.cli.commands.top import check_terminal
from raven.cli.commands.transaction import Call, commit
from raven.cli.exit_codes import GENERAL
from raven.cli.options import AddressType

Connect = Callable[..., BusClient]


def test_a_command_whose_output_is_caught_in_memory_runs_as_any_other() -> None:
    output = io.StringIO()

    with redirect_stdout(output):
        code = run(["version"])

    assert code == 0
    assert output.getvalue().strip()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_output_for_which_there_is_no_room_is_one_line_of_error(capsys: pytest.CaptureFixture[str]) -> None:
    # What could not be written is tried once more when the file is closed.
    with suppress(OSError), open("/dev/full", "w", encoding="utf-8") as full, redirect_stdout(full):
        code = run(["version"])

    assert code == GENERAL
    assert capsys.readouterr().err.splitlines() == ["error: No space left on device"]


def test_a_shell_command_that_is_too_long_to_be_started_is_an_error_of_the_system() -> None:
    with pytest.raises(OSError, match="too long"):
        run_command(f": {'x' * (8 << 20)}", "")


def test_without_a_bus_no_address_is_offered_to_the_shell(db: str) -> None:
    param = click.Argument(["address"], type=AddressType())
    context = click.Context(click.Command("send", params=[param]))
    context.params["db"] = db

    assert AddressType().shell_complete(context, param, "") == []
    assert not Path(db).exists()


def test_a_python_without_curses_shows_no_full_screen_and_says_what_to_use(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = os.openpty()
    monkeypatch.setitem(sys.modules, "curses", None)
    with open(theirs, "r+b", buffering=0) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        monkeypatch.setattr(sys, "stdout", terminal)

        with pytest.raises(click.UsageError, match="built without: use `raven stats`"):
            check_terminal(instead="`raven stats`")
    monkeypatch.undo()
    os.close(ours)


def test_an_error_of_the_bus_file_is_not_told_as_one_of_a_call(db: str, connect: Connect) -> None:
    bus = connect("boss:s")
    connect("worker:s")
    BusClient.at("other:s", f"{db}.new").close()

    def calls() -> Iterator[Call]:
        yield Call("send", ("worker:s", "note"), {})
        os.replace(f"{db}.new", db)
        yield Call("send", ("worker:s", "note"), {})

    with pytest.raises(DatabaseError) as caught:
        commit(bus, calls(), named=lambda number: f"line {number}: ")

    assert str(caught.value).startswith(f"the bus {db} was replaced during a transaction")
