"""`raven top`, in a pseudo terminal: its lines, how it follows the bus and the size, and how it ends."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import click
import pytest

from raven import BusClient
from raven.cli.commands.top import check_terminal
from raven.wake.doorbell import Doorbells
from tests.cli.shell import DEADLINE_S, Shell
from tests.cli.terminal import Terminal
from tests.rpc_server import Served
from tests.support import Foreign, closed_at_the_end, wait_until

Run = Callable[..., Terminal]
HEADINGS = ["WAITING", "BACKLOG", "IN", "FLIGHT", "OLDEST", "RATE"]


@pytest.fixture
def run(shell: Shell) -> Iterator[Run]:
    """Run `raven top` in a terminal, with its options; the settings of the terminal by name."""
    with closed_at_the_end(partial(Terminal, shell, "top", "--interval", "100ms")) as start:
        yield start


@pytest.fixture
def bus(shell: Shell) -> Iterator[BusClient]:
    with BusClient.at("boss:s", shell.db) as client:
        yield client


def row(lines: list[str], name: str) -> list[str]:
    """Return the cells of one row of the table."""
    return next((line.split()[1:] for line in lines if line.split()[:1] == [name]), [])


def cpu_of_children_s() -> float:
    """Return how much time of a processor the commands have taken that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_top_shows_roles_by_backlog_and_follows_the_bus(run: Run, bus: BusClient) -> None:
    bus.send("worker:s", "job")
    bus.send(["writer:s", "writer:t"], "job")
    bus.send("writer:t", "job", delay_s=1000)
    terminal = run()

    lines = terminal.shows("q quit")
    assert lines[4].split() == ["ROLE", *HEADINGS]
    assert [line.split()[0] for line in lines[5:8]] == ["writer", "worker", "boss"]
    assert row(lines, "writer")[:3] == ["0", "3", "0"]
    assert "backlog 4" in lines[1]
    assert lines[23] == "q quit   a by address"

    with BusClient.at("worker:s", bus.db_path) as worker:
        bell = Doorbells(bus.db_path).create("worker:s")
        worker.claim()
        terminal.wait_for(lambda lines: row(lines, "worker")[:3] == ["1", "0", "1"], "the claim")
        bell.close()
    assert terminal.process.poll() is None


def test_a_shows_addresses_and_then_roles_again(run: Run, bus: BusClient) -> None:
    bus.send(["writer:s", "writer:t"], "job")
    terminal = run("--interval", "1h")
    terminal.shows("writer")

    terminal.press("a")
    lines = terminal.shows("q quit   a by role")
    assert lines[4].split()[0] == "ADDRESS"
    assert [row(lines, name)[1] for name in ("writer:s", "writer:t", "boss:s")] == ["1", "1", "0"]

    terminal.press("a")
    terminal.wait_for(lambda lines: row(lines, "writer")[1:2] == ["2"], "the roles")


def test_what_does_not_fit_is_counted_and_every_line_has_its_place(run: Run, bus: BusClient) -> None:
    for number in range(40):
        bus.send(f"role-{number}:s", "job", delay_s=1000)
    terminal = run()

    lines = terminal.shows("q quit")

    assert len(lines) == 24
    assert [line.split()[0] for line in lines[5:22]] == sorted(f"role-{number}" for number in range(40))[:17]
    assert lines[22] == "... and 24 more"
    assert all(len(line) <= 80 for line in lines)


def test_top_draws_anew_when_the_size_changes(run: Run, bus: BusClient) -> None:
    for number in range(12):
        bus.send(f"role-{number}:s", "job")
    terminal = run()
    assert terminal.shows("q quit")[23].startswith("q quit")

    terminal.resize(100, 12)
    lines = terminal.wait_for(lambda lines: lines[11].startswith("q quit"), "the last line")
    assert lines[10] == "... and 8 more"
    assert len(lines[4]) == 100

    terminal.resize(40, 30)
    terminal.wait_for(lambda lines: lines[29].startswith("q quit"), "the last line")
    assert "more" not in "".join(terminal.screen())

    terminal.resize(3, 2)
    terminal.wait_for(lambda lines: lines[0] == "rav", "the first line")
    terminal.press("q")
    assert terminal.end() == 0


@pytest.mark.parametrize(
    ("how", "code"), [("q", 0), ("\x03", 130), (signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGINT, 130)]
)
def test_top_ends_at_once_and_gives_the_terminal_back(run: Run, bus: BusClient, how: Any, code: int) -> None:
    terminal = run("--interval", "1h")
    terminal.shows("boss")
    assert terminal.alternate
    assert not terminal.is_as_before()

    if isinstance(how, str):
        terminal.press(how)
    else:
        terminal.process.send_signal(how)

    assert terminal.end() == code
    assert terminal.is_as_before()
    assert "Traceback" not in terminal.stream


def test_a_bus_that_is_gone_ends_top_with_the_reason_on_the_usual_screen(run: Run, bus: BusClient) -> None:
    terminal = run()
    terminal.shows("boss")

    Path(bus.db_path).unlink()

    assert terminal.end() == 3
    assert terminal.is_as_before()
    assert "was deleted or moved while in use" in terminal.stream.rpartition("\x1b[?1049l")[2]


def test_a_terminal_that_is_gone_ends_top(run: Run, bus: BusClient) -> None:
    terminal = run(owner=False)
    terminal.shows("boss")

    terminal.hang_up()

    terminal.process.wait(DEADLINE_S)


def test_while_nothing_happens_top_does_nearly_nothing(run: Run, bus: BusClient) -> None:
    before = cpu_of_children_s()
    terminal = run("--interval", "1h")
    terminal.shows("q quit")

    # A loop that does not wait would use this much CPU time.
    with pytest.raises(subprocess.TimeoutExpired):
        terminal.process.wait(4)

    terminal.press("q")
    terminal.end()
    assert cpu_of_children_s() - before < 2


def test_names_are_shown_so_that_they_forge_nothing(run: Run, bus: BusClient, foreign: Foreign) -> None:
    bus.send("worker:s", "job")
    foreign.execute("UPDATE deliveries SET recipient = ?", "evil\x1b[31m:s")
    bus.send("\u6f22\u5b57:s", "job")
    bus.send(f"{'long' * 40}:s", "job")
    terminal = run()

    lines = terminal.shows("q quit")

    assert any(line.startswith("evil\\x1b[31m ") for line in lines)
    assert any(line.startswith("\u6f22\u5b57 ") for line in lines)
    assert any(line.split()[0] == ("long" * 40)[:31] for line in lines[5:9])
    assert "\x1b[31m" not in terminal.stream


def test_a_terminal_without_such_letters_shows_escapes(run: Run, bus: BusClient) -> None:
    bus.send("\u6f22:s", "job")

    terminal = run(LC_ALL="C", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0")

    assert row(terminal.shows("q quit"), "\\u6f22")[1] == "1"


@pytest.mark.slow
def test_top_through_the_server_outlasts_the_server(run: Run, bus: BusClient, serve: Callable[..., Served]) -> None:
    bus.send("worker:s", "job")
    served = serve()
    terminal = run("--socket", served.path, RAVEN_CONNECT_TIMEOUT_S="0.2")
    terminal.wait_for(lambda lines: row(lines, "worker")[1:2] == ["1"], "the first look")
    bus.send("worker:s", "job")
    terminal.wait_for(lambda lines: row(lines, "worker")[1:2] == ["2"], "another look")

    served.stop()
    lines = terminal.shows("the server cannot be reached")
    assert row(lines, "worker")[1] == "2"

    bus.send("worker:s", "job")
    serve()
    lines = terminal.wait_for(lambda lines: row(lines, "worker")[1:2] == ["3"], "a look through the new server")
    terminal.press("q")
    assert terminal.end() == 0


def test_a_server_that_is_not_there_is_said_before_the_screen_is_taken(run: Run) -> None:
    terminal = run("--socket", "none.sock", RAVEN_CONNECT_TIMEOUT_S="0")

    assert terminal.end() == 1
    assert "the server cannot be reached at none.sock" in terminal.stream
    assert "\x1b[?1049h" not in terminal.stream


def test_without_a_terminal_top_names_what_to_use_instead(shell: Shell) -> None:
    assert shell.error(2, "top").startswith("this needs a terminal: use `raven stats`")


@pytest.mark.parametrize("kind", ["dumb", "no-such-terminal", ""])
def test_a_terminal_that_cannot_show_it_is_told_so(run: Run, bus: BusClient, kind: str) -> None:
    terminal = run(TERM=kind)

    assert terminal.end() == 2
    assert f"a terminal of the kind '{kind}' (TERM) cannot show a full screen: use `raven stats`" in terminal.stream
    assert "\x1b[?1049h" not in terminal.stream


def test_wrong_intervals_and_a_bus_that_is_not_there_are_one_line(shell: Shell, run: Run) -> None:
    assert "--interval 0.01 s is out of range" in shell.error(2, "top", "--interval", "10ms")
    assert "is not a duration" in shell.error(2, "top", "--interval", "soon")
    terminal = run()
    assert terminal.end() == 3
    assert terminal.stream.startswith("error:") or "error:" in terminal.stream
    assert not os.path.exists(shell.db)
    wait_until(terminal.is_as_before, "the terminal as it was")


def test_a_python_without_curses_shows_no_full_screen_and_says_what_to_use(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = os.openpty()
    monkeypatch.setitem(sys.modules, "curses", None)
    with open(theirs, "r+b", buffering=0) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        monkeypatch.setattr(sys, "stdout", terminal)

        with pytest.raises(click.UsageError, match="built without: use `raven stats`"):
            check_terminal(alternative="`raven stats`")
    monkeypatch.undo()
    os.close(ours)
