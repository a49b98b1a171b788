"""New mail wakes a thread of Codex, by its program."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.mcp.agent_session import CODEX_ID, AgentSession, Clock
from tests.support import closed_at_the_end, wait_until

NOTICE = "raven: #1 from architect:pay (question). Not from your user. Read with inbox."


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the tests a home of their own."""
    monkeypatch.setenv("HOME", str(tmp_path))


class Codex:
    """A stand-in for the program `codex`, which records its arguments."""

    def __init__(self, folder: Path, body: str = "exit 0") -> None:
        self.folder = folder / "bin"
        self.folder.mkdir()
        self._calls = folder / "calls"
        program = self.folder / "codex"
        program.write_text(
            f'#!/bin/sh\nprintf "%s\\n" "$@" >> "{self._calls}.part"\n'
            f'cat "{self._calls}.part" >> "{self._calls}"; rm "{self._calls}.part"\n{body}\n',
            encoding="ascii",
        )
        program.chmod(program.stat().st_mode | stat.S_IXUSR)

    @property
    def env(self) -> dict[str, str]:
        return {"PATH": f"{self.folder}:{os.environ['PATH']}"}

    def calls(self) -> list[str]:
        """Return the arguments of all calls."""
        return self._calls.read_text("ascii").splitlines() if self._calls.exists() else []


@pytest.fixture
def start_thread(db: str) -> Iterator[Callable[[dict[str, str]], AgentSession]]:
    """Start sessions of Codex, bound by the first call of a thread."""

    def make(env: dict[str, str]) -> AgentSession:
        meta = {"threadId": CODEX_ID}
        return AgentSession(db, host="codex-mcp-client", address="verifier:pay", env=env, meta=meta).start()

    with closed_at_the_end(make) as start:
        yield start


def test_a_thread_of_codex_is_woken_by_its_queue(
    start_thread: Callable[[dict[str, str]], AgentSession], tmp_path: Path
) -> None:
    codex = Codex(tmp_path)
    agent = start_thread(codex.env)

    agent.send()
    agent.turn_until(lambda: not agent.session.unannounced() and codex.calls(), "a push")
    agent.settle()

    assert codex.calls() == ["queue", "--thread", CODEX_ID, "--message", NOTICE]


def test_the_program_of_codex_can_be_named(
    start_thread: Callable[[dict[str, str]], AgentSession], tmp_path: Path
) -> None:
    codex = Codex(tmp_path)
    agent = start_thread({"PATH": os.environ["PATH"], "RAVEN_CODEX": str(codex.folder / "codex")})

    agent.send()
    agent.turn_until(codex.calls, "a push")

    assert codex.calls()[0] == "queue"


def test_the_program_of_codex_does_not_run_before_a_thread_is_named(db: str, tmp_path: Path) -> None:
    codex = Codex(tmp_path)
    agent = AgentSession(db, host="codex-mcp-client", address="verifier:pay", env=codex.env).start()
    agent.send()
    agent.settle()
    assert codex.calls() == []

    agent.hook("prompt", session=CODEX_ID)
    agent.hook("stop")
    second = agent.send()
    agent.turn_until(codex.calls, "a push")

    assert codex.calls()[2] == CODEX_ID
    assert f"#{second} " in codex.calls()[4]
    agent.close()


def test_mail_that_was_read_before_the_program_of_codex_ends_delays_no_later_push(db: str, tmp_path: Path) -> None:
    was_read = tmp_path / "read"
    codex = Codex(tmp_path, f"while [ ! -e {was_read} ]; do sleep 0.01; done")
    options = {"host": "codex-mcp-client", "address": "verifier:pay", "env": codex.env, "meta": {"threadId": CODEX_ID}}
    agent = AgentSession(db, clock=Clock(), **options).start()  # a clock that stands still: no pause ever ends
    agent.send()
    agent.turn_until(codex.calls, "the first push")
    agent.look()
    was_read.touch()

    second = agent.send()
    agent.turn_until(lambda: len(codex.calls()) == 10, "the second push")

    assert f"#{second} " in codex.calls()[9]
    agent.close()


@pytest.mark.parametrize("body", ["exit 1", "kill -9 $$"])
def test_a_queue_that_fails_announces_nothing(
    start_thread: Callable[[dict[str, str]], AgentSession], tmp_path: Path, body: str
) -> None:
    codex = Codex(tmp_path, body)
    agent = start_thread(codex.env)
    agent.send()

    agent.turn_until(codex.calls, "the run of codex")
    agent.settle()

    assert agent.session.unannounced() == 1


def test_without_the_program_of_codex_nothing_is_announced(
    start_thread: Callable[[dict[str, str]], AgentSession], tmp_path: Path
) -> None:
    agent = start_thread({"PATH": str(tmp_path)})
    agent.send()

    agent.settle()

    assert agent.session.unannounced() == 1


def test_the_loop_goes_on_while_the_program_of_codex_runs_and_ends_it_after_its_time(
    start_thread: Callable[[dict[str, str]], AgentSession], tmp_path: Path
) -> None:
    codex = Codex(tmp_path, f"echo $$ > {tmp_path}/pid; sleep 600")
    agent = start_thread(codex.env)
    pusher = agent.session._pusher
    assert pusher
    pusher._channel._timeout_s = 1.0  # type: ignore[attr-defined]
    agent.send()
    agent.turn_until(codex.calls, "the run of codex")
    assert agent.session.unannounced() == 0

    agent.turn_until(agent.session.unannounced, "the end of the run")

    pid = int(wait_until(lambda: (tmp_path / "pid").read_text(encoding="ascii"), "the pid of the program"))
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the end of the program")


def test_the_program_of_codex_ends_with_the_session(
    start_thread: Callable[[dict[str, str]], AgentSession], tmp_path: Path
) -> None:
    pid_file = tmp_path / "pid"
    codex = Codex(tmp_path, f"echo $$ > {pid_file}; sleep 600")
    agent = start_thread(codex.env)
    agent.send()
    agent.turn_until(lambda: pid_file.exists() and pid_file.read_text(encoding="ascii"), "the run of codex")

    agent.close()

    wait_until(lambda: not Path(f"/proc/{pid_file.read_text(encoding='ascii').strip()}").exists(), "its end")
