"""Help: every command stands in a group, fits a terminal, and ends with an example that runs as it stands."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import click
import pytest

from raven.cli.app import COMMANDS, GROUPS, cli
from raven.cli.exit_codes import EXIT_CODES, GENERAL, INTERRUPTED, MEANINGS, USAGE
from scripts.harness.nats_server import NATSServer
from tests.cli.shell import DEADLINE_S, Shell
from tests.link.conftest import nats_binary

# For each command: the lines to run before its example, and a text that the example prints.
DIE = "raven claim -a worker:s1 > claimed; raven nack 1 --reason broken > nacked"
ANSWER = "raven subscribe -a worker:s1 --count 1 --timeout 20s --exec 'raven reply $(jq .id) -t sum --body 3'"
MEET = """python -c 'from raven.exchange.exchange import Exchange; Exchange("bus.db", "alpha").take_in("beta", [])'"""
# Commands that run until they are told to end.
LASTING = {"raven serve", "raven link", "raven link run"}
EXAMPLES = {
    "raven": ("", "#2 a:s -> b:s type=hello {}\n"),
    "raven ack": ("", "acked #1\n"),
    "raven call": ("", '"address":"worker:s1"'),
    "raven claim": ("", " lease="),
    "raven completion": ("", ""),
    "raven dead-letters": (DIE, 'reason="broken"\n'),
    "raven doctor": ("", "ok    "),
    "raven extend": ("raven claim -a worker:s1 > claimed", "extended #1\n"),
    "raven forget": ("", "forgot 0 addresses; expired 1 delivery\n"),
    "raven history": ("", "#1 boss:s1 -> worker:s1"),
    "raven hook": ("", "{}\n"),
    "raven inbox": ("", "#1 boss:s1 -> worker:s1"),
    "raven init": ("", "wrote raven.yaml\n"),
    "raven install": ("", "HOST         PROGRAM"),
    "raven link": ("", "linked as alpha in lab over "),
    "raven link drain": ("", "returned 0 deliveries\n"),
    "raven link forget": (MEET, "forgot beta: 0 deliveries ready again\n"),
    "raven link run": ("", "linked as alpha in lab over "),
    "raven link setup": ("", "RAVEN_lab.alpha"),
    "raven link status": ("", "no relay of this bus runs here\n"),
    "raven mcp": ("", '{"jsonrpc":"2.0","result":{},"id":1}\n'),
    "raven mute": ("", "muted worker:s1\n"),
    "raven nack": ("", "nacked #1"),
    "raven peers": ("", "worker:s1  no"),
    "raven prune": ("", "would drop 0 messages"),
    "raven read": ("", '"correlation_id":"order-7"'),
    "raven receipts": ("", "worker:s1  sent"),
    "raven reply": ("", "sent #2 worker:s1 -> boss:s1 type=sum\n"),
    "raven request": (f"raven ack 1 > acked; {ANSWER} > replied &", "3\n"),
    "raven requeue": (DIE, "requeued 1 dead message\n"),
    "raven send": ("", "sent #2 boss:s1 -> worker:s1 type=job\n"),
    "raven serve": ("", "listening at sandbox.sock\n"),
    "raven session": ("", "session s1: planner:s1, worker:s1\n"),
    "raven session end": ("", "forgot 1 address; expired 1 delivery\n"),
    "raven session init": ("", "session s1: planner:s1, worker:s1\n"),
    "raven stats": ("", '{"messages":1,'),
    "raven subscribe": ("", '{\n  "n": 1\n}\n'),
    "raven tail": ("", "#1 boss:s1 -> worker:s1"),
    "raven thread": ("raven reply 1 -t sum > replied", "\n#2 worker:s1 -> boss:s1 type=sum"),
    "raven top": ("", "raven top"),
    "raven transaction": ("", '{"acked":[1]}\n'),
    "raven version": ("", "raven "),
}


def documented(command: click.Command, path: str) -> Iterator[tuple[str, Any]]:
    """Yield a command and all commands below it, with their paths."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from documented(cast(click.Command, command.get_command(context, name)), f"{path} {name}")


ALL = dict(documented(cli, "raven"))


@pytest.fixture
def bus(shell: Shell) -> Shell:
    """Return a shell with `raven` on its path, and a message #1 for worker:s1 that can be attempted once."""
    shell.environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    shell.ok("send", "--from", "boss:s1", "--to", "worker:s1", "-t", "job", "--body", '{"n":1}',
             "--correlation-id", "order-7", "--max-attempts", "1")  # fmt: skip
    return shell


def start(shell: Shell, script: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["bash", "-c", script], cwd=shell.folder, env=shell.environment, text=True, stdout=-1, stderr=-1
    )


@pytest.mark.parametrize("path", sorted(set(ALL) - {"raven top", *LASTING}))
def test_the_example_of_a_command_runs_as_it_stands(bus: Shell, path: str, serve: Callable[..., Any]) -> None:
    before, printed = EXAMPLES[path]
    if path == "raven call":
        serve()

    process = start(bus, f"{before}\n{ALL[path].example}")

    output, errors = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, errors) == (0, "")
    assert printed in output


@pytest.mark.parametrize("path", sorted(LASTING))
def test_the_example_of_a_lasting_command_runs_until_it_is_told_to_end(bus: Shell, path: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        if path != "raven serve":
            nats = stack.enter_context(NATSServer(tmp_path / "nats", nats_binary("newest")))
            bus.environment["RAVEN_LINK_URL"] = nats.url
        process = stack.enter_context(start(bus, f"exec {ALL[path].example}"))
        assert process.stdout
        assert process.stdout.readline().startswith(EXAMPLES[path][1])
        process.terminate()
        assert process.wait(DEADLINE_S) == 0


def test_the_example_of_top_draws_on_a_terminal_until_q(bus: Shell) -> None:
    ended, shown = bus.on_terminal(*shlex.split(ALL["raven top"].example)[1:], typed="q")

    assert (ended, EXAMPLES["raven top"][1] in shown) == (0, True)


@pytest.mark.parametrize("path", sorted(ALL))
def test_the_help_of_a_command_fits_a_terminal_and_ends_with_its_example(shell: Shell, path: str) -> None:
    shown = shell.ok(*path.split()[1:], "--help", COLUMNS="80").splitlines()

    assert shown[0].startswith(f"Usage: {path} ")
    assert shown[-2:] == ["Example:", f"  {ALL[path].example}"]
    assert max(map(len, shown)) <= 80


def test_the_groups_list_each_command_once(shell: Shell) -> None:
    shown = shell.ok("--help")

    assert sorted(name for group in GROUPS.values() for name in group) == sorted(COMMANDS)
    assert [line for line in shown.splitlines() if line[:-1] in GROUPS] == [f"{group}:" for group in GROUPS]
    assert all(f"\n  {name} " in shown for name in COMMANDS)


def test_each_exit_code_has_a_meaning() -> None:
    assert set(MEANINGS) == {0, GENERAL, USAGE, INTERRUPTED, *EXIT_CODES.values()}
    assert all(set(command.exit_codes) <= set(MEANINGS) for command in ALL.values())
