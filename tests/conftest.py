"""Fixtures: a bus in a temporary folder, clients of it, programs beside it, a shell; all are gone after the test."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from raven import BusClient
from raven.host.bus import HostedBus
from raven_rpc import Client
from tests.cli.shell import Shell
from tests.rpc_server import Served
from tests.stores import store  # noqa: F401 a fixture
from tests.support import Foreign, Program, closed_at_the_end
from tests.thread_server import ServedHere

LEFT_OUT = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    """Let Ctrl-C work in what the tests start: a shell ignores it for its background jobs, and that is inherited."""
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGQUIT, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)
    config.stash[LEFT_OUT] = 0


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    """Count the slow tests that were not asked for; a worker of xdist tells the process that started it."""
    for item in items:
        if item.get_closest_marker("slow") and item.config.option.markexpr == "not slow":
            item.config.stash[LEFT_OUT] += 1
            if hasattr(item.config, "workeroutput"):
                item.config.workeroutput["left_out"] = item.config.stash[LEFT_OUT]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Take over how many tests a worker of xdist has left out: each has collected all."""
    node.config.stash[LEFT_OUT] = max(node.config.stash[LEFT_OUT], getattr(node, "workeroutput", {}).get("left_out", 0))


def pytest_unconfigure(config: pytest.Config) -> None:
    """End with the number of tests that were left out."""
    reporter, count = config.pluginmanager.get_plugin("terminalreporter"), config.stash[LEFT_OUT]
    if reporter and count:
        left_out = f"{count} slow tests; scripts/test --all runs them"
        reporter.write_line(f"left out: {left_out if count > 1 else '1 slow test; scripts/test --all runs it'}")


@pytest.fixture
def db(tmp_path: Path) -> str:
    """Return the path of a bus that does not exist yet."""
    return str(tmp_path / "bus.db")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Let a test that is marked `both_ways` run with clients of the file and with clients of the socket."""
    marked, excepted = (metafunc.definition.get_closest_marker(name) for name in ("both_ways", "file_only"))
    if "way" in metafunc.fixturenames and marked and not excepted:
        metafunc.parametrize("way", ["file", "socket"])


@pytest.fixture
def way() -> str:
    """Return how `connect` comes to the bus: `file`, unless the test is marked `both_ways`."""
    return "file"


@pytest.fixture
def connect(request: pytest.FixtureRequest, db: str, way: str) -> Iterator[Callable[..., Any]]:
    """Make clients of the bus by address: `connect("architect:swarm-1")`."""
    path = request.getfixturevalue("serve")().path if way == "socket" else ""

    def make(address: str, **options: Any) -> BusClient | Client:
        return Client(path, address, **options) if path else BusClient.at(address, db, **options)

    with closed_at_the_end(make) as connect:
        yield connect


@pytest.fixture
def hosted(db: str) -> Iterator[Callable[..., HostedBus]]:
    """Make clients as `connect` does, of the kind that a program with an event loop of its own has."""
    with closed_at_the_end(lambda address, **options: HostedBus.at(address, db, **options)) as connect:
        yield connect


@pytest.fixture
def spawn() -> Iterator[Callable[..., Program]]:
    """Start programs of tests/programs by name, with their arguments."""
    with closed_at_the_end(Program) as start:
        yield start


@pytest.fixture(scope="session")
def stranger() -> Iterator[Program]:
    """Start the process of all `foreign` clients of this run: its start takes longer than most of its requests."""
    program = Program("external_writer")
    yield program
    program.close()


@pytest.fixture
def foreign(request: pytest.FixtureRequest, db: str) -> Iterator[Foreign]:
    """Return a client of the bus that is not raven; the bus must be there before its first statement.

    Its connection is this test's own; its process too, if the test is marked `process`.
    """
    if request.node.get_closest_marker("process"):
        yield Foreign(request.getfixturevalue("spawn")("external_writer", db))
        return
    stranger = request.getfixturevalue("stranger")
    stranger.ask({"open": db})
    yield Foreign(stranger)
    stranger.ask({"open": None})


@pytest.fixture
def serve(db: str, request: pytest.FixtureRequest) -> Iterator[Callable[..., Served | ServedHere]]:
    """Start a server for the bus, with options of `raven serve`; gone at the end.

    It runs in a thread of this process, or in a process of its own if the test is marked `process`.
    """
    server_class = Served if request.node.get_closest_marker("process") else ServedHere

    def make(*options: str, socket_path: str | None = None, **arguments: Any) -> Served | ServedHere:
        return server_class(db, socket_path, *options, **arguments)

    with closed_at_the_end(make) as serve:
        yield serve


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedHere]:
    """Start one server for all tests of a module: the messages of one must not harm the next."""
    one = ServedHere(str(tmp_path_factory.mktemp("bus") / "bus.db"))
    yield one
    one.close()


@pytest.fixture
def shell(tmp_path: Path, request: pytest.FixtureRequest, way: str) -> Iterator[Shell]:
    """Put a shell user into an empty folder whose bus is `bus.db` there; over the socket it has no other way to it."""
    user, unused = Shell(tmp_path), tmp_path / "unused.db"
    if way == "socket":
        user.environment.update(RAVEN_SOCKET=request.getfixturevalue("serve")().path, RAVEN_DB=str(unused))
    yield user
    assert not unused.exists(), "a file was used, not the socket"


@pytest.fixture
def sent(shell: Shell) -> Callable[..., str]:
    """Send a message by command line and return its output."""

    def send(
        *options: str, sender: str = "conductor:swarm-1", to: str = "architect:swarm-1", type: str = "plan"
    ) -> str:
        return shell.ok("send", "--from", sender, "--to", to, "-t", type, *options)

    return send
