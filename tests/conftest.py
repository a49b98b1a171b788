"""Fixtures: a bus in a temporary folder, clients of it, programs beside it, a shell; all are gone after the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from raven import BusClient
from tests.cli.shell import Shell
from tests.serving import Served
from tests.support import Foreign, Program


@pytest.fixture
def db(tmp_path: Path) -> str:
    """Return the path of a bus that nobody has made yet."""
    return str(tmp_path / "bus.db")


@pytest.fixture
def connect(db: str) -> Iterator[Callable[..., BusClient]]:
    """Make clients of the bus by address: `connect("architect:swarm-1")`."""
    clients: list[BusClient] = []

    def make(address: str, **options: Any) -> BusClient:
        clients.append(BusClient.at(address, db, **options))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def spawn() -> Iterator[Callable[..., Program]]:
    """Start programs of tests/programs by name, with their arguments."""
    programs: list[Program] = []

    def start(name: str, *arguments: object, **options: Any) -> Program:
        programs.append(Program(name, *arguments, **options))
        return programs[-1]

    yield start
    for program in programs:
        program.close()


@pytest.fixture
def foreign(db: str, spawn: Callable[..., Program]) -> Foreign:
    """Start a client of the bus that is not raven; the bus must be there before its first statement."""
    return Foreign(spawn("foreign", db))


@pytest.fixture
def serve(db: str) -> Iterator[Callable[..., Served]]:
    """Start a helper for the bus, with options of `raven serve`; killed at the end."""
    served: list[Served] = []

    def start(*options: str, **arguments: Any) -> Served:
        served.append(Served(db, arguments.pop("socket_path", None), *options, **arguments))
        return served[-1]

    yield start
    for one in served:
        one.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Start one helper for all tests of a module: what one of them sends must not harm the next."""
    one = Served(str(tmp_path_factory.mktemp("bus") / "bus.db"))
    yield one
    one.close()


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Put a shell user into an empty folder whose bus is `bus.db` there; each command is a process of its own."""
    return Shell(tmp_path)


@pytest.fixture
def sent(shell: Shell) -> Callable[..., str]:
    """Send a message by command line and return what was printed."""

    def send(
        *options: str, sender: str = "conductor:swarm-1", to: str = "architect:swarm-1", type: str = "plan"
    ) -> str:
        return shell.ok("send", "--from", sender, "--to", to, "-t", type, *options)

    return send
