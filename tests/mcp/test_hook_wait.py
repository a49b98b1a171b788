"""`raven hook wait`: wakes an idle session by its end, once for each message, and never outlives the session."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from raven import BusClient
from raven.agents import process
from raven.agents.agents import Agents
from raven.wake.doorbell import ALL_TRAFFIC
from raven.wake.fifo import holds_ring
from raven_mcp.hooks.wait import _Turn
from raven_mcp.hooks.wakes import Wakes
from raven_mcp.session.announced import Announced
from raven_mcp.session.brakes import MAX_WAKES
from scripts.harness.deadline import wait_until
from tests.mcp.harness import environment
from tests.mcp.hooked import RAVEN, SESSION, Hooked
from tests.support import DEADLINE_S, bells, wait_for_waiting, waiting

NOTICE = "raven: #1 from architect:pay (question). Not from your user. Read with inbox.\n"


@pytest.fixture
def hooked(tmp_path: Path) -> Iterator[Hooked]:
    hooked = Hooked(tmp_path)
    yield hooked
    hooked.close()


class Wait(NamedTuple):
    """A waiting hook, and the session that it waits for."""

    hooked: Hooked
    process: subprocess.Popen[bytes]

    def end(self) -> tuple[int, str]:
        """Wait for its end, and return its exit code and the text on stderr."""
        out, err = self.process.communicate(timeout=DEADLINE_S)
        assert out == b""
        return self.process.returncode, err.decode()

    def is_waiting(self) -> bool:
        return self.process.poll() is None


@pytest.fixture
def wait(hooked: Hooked) -> Iterator[Wait]:
    """Return a hook that waits, which is gone after the test."""
    wait = Wait(hooked, hooked.begin("wait"))
    wait_for_waiting(hooked.db, ALL_TRAFFIC)
    yield wait
    wait.process.kill()
    wait.process.communicate()


def test_mail_ends_the_wait_with_its_notice_and_the_exit_code_that_wakes(wait: Wait) -> None:
    wait.hooked.send()

    assert wait.end() == (2, NOTICE)


def test_mail_that_waits_already_ends_the_wait_at_once(hooked: Hooked) -> None:
    hooked.send()

    assert Wait(hooked, hooked.begin("wait")).end() == (2, NOTICE)


def test_the_mail_of_one_burst_makes_one_notice(wait: Wait) -> None:
    wait.hooked.send()
    wait.hooked.send()

    assert wait.end() == (
        2,
        "raven: #1 from architect:pay (question), #2 from architect:pay (question). "
        "Not from your user. Read with inbox.\n",
    )


def test_fyi_mail_and_mail_of_others_wakes_no_session(wait: Wait) -> None:
    wait.hooked.send(urgency="fyi")
    with BusClient.at("architect:pay", wait.hooked.db) as sender:
        sender.send("builder:pay", "question")
    last = wait.hooked.send(urgency="blocking")

    code, text = wait.end()

    assert code == 2
    assert text == f"raven: #{last} from architect:pay (question, blocking). Not from your user. Read with inbox.\n"


def test_a_message_that_the_session_has_heard_of_does_not_wake_it(hooked: Hooked) -> None:
    Announced(hooked.db, SESSION).claim([hooked.send()])
    wait = Wait(hooked, hooked.begin("wait"))
    wait_for_waiting(hooked.db, ALL_TRAFFIC)

    hooked.send()

    assert wait.end() == (2, NOTICE.replace("#1", "#2"))
    assert hooked.hook("UserPromptSubmit").context is None


def test_a_later_wait_of_the_session_replaces_the_earlier_one(wait: Wait) -> None:
    later = Wait(wait.hooked, wait.hooked.begin("wait"))

    assert wait.end() == (0, "")
    assert later.is_waiting()
    wait.hooked.send()
    assert later.end() == (2, NOTICE)


def test_only_the_last_of_many_waits_is_the_sessions_own(tmp_path: Path) -> None:
    with ExitStack() as stack:
        # The file of an earlier one is gone, and a later file may get its inode.
        turns = [stack.enter_context(_Turn(str(tmp_path / "bus.db"), SESSION)) for _ in range(20)]

        assert [turn.is_own() for turn in turns] == [False] * 19 + [True]


def test_several_waits_at_once_wake_the_session_once(hooked: Hooked) -> None:
    waits = [Wait(hooked, hooked.begin("wait")) for _ in range(4)]
    hooked.send()

    wait_until(lambda: any(wait.process.poll() == 2 for wait in waits), "a wait that wakes the session")
    wait_until(lambda: sum(map(Wait.is_waiting, waits)) <= 1, "the end of all waits but the last")
    for wait in waits:
        wait.process.terminate()

    assert sorted(wait.end()[0] for wait in waits) == [0, 0, 0, 2]


def test_the_waits_of_two_sessions_do_not_replace_each_other(wait: Wait) -> None:
    Agents(wait.hooked.bus._store).bind("other:pay", "claude-code", "other", process.own(), "/")
    other = Wait(wait.hooked, wait.hooked.begin("wait", session_id="other"))
    wait_for_waiting(wait.hooked.db, ALL_TRAFFIC, 2)

    wait.hooked.send()

    assert wait.end()[0] == 2
    assert other.is_waiting()
    other.process.terminate()
    assert other.end() == (0, "")


def test_the_end_of_the_sessions_process_ends_the_wait(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as server:
        owner = process.of(server.pid)
        assert owner
        hooked = Hooked(tmp_path, owner=owner)
        wait = Wait(hooked, hooked.begin("wait"))
        wait_for_waiting(hooked.db, ALL_TRAFFIC)
        server.kill()
    hooked.close()

    assert wait.end() == (0, "")


def test_the_orderly_end_of_the_session_ends_the_wait(wait: Wait) -> None:
    agents = Agents(wait.hooked.bus._store)
    agents.bind("verifier:pay", "claude-code", SESSION, process.own(), "/")
    agents.end("claude-code", SESSION)

    assert wait.end() == (0, "")


def test_the_death_of_the_host_ends_the_wait(hooked: Hooked) -> None:
    command = [*RAVEN, "hook", "wait", "--host", "claude-code", "--db", hooked.db]
    program = f"import subprocess, time; subprocess.Popen({command!r}, stdin=0); time.sleep(60)"
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=hooked.folder,
        env=environment(hooked.folder),
    ) as host:
        assert host.stdin
        assert host.stderr
        host.stdin.write(hooked.input("Stop"))
        host.stdin.close()
        wait_for_waiting(hooked.db, ALL_TRAFFIC)
        host.kill()

        assert host.stderr.read() == b""  # at the end of all processes that have it

    assert waiting(hooked.db, ALL_TRAFFIC) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_wait_and_leaves_no_files(wait: Wait, number: signal.Signals) -> None:
    wait.process.send_signal(number)

    assert wait.end() == (0, "")
    assert [name for name in bells(wait.hooked.db) if SESSION in name or "*" in name] == []


def test_a_session_that_no_server_has_bound_has_nothing_to_wait_for(hooked: Hooked) -> None:
    hooked.session = "another"

    complaint = hooked.run(["wait", "--host", "claude-code", "--db", hooked.db], hooked.input("Stop")).complaint

    assert complaint == "session another of claude-code has no `raven mcp`: there is nothing to wait for"


def test_a_wait_within_an_agent_of_the_session_does_not_wait(hooked: Hooked) -> None:
    assert Wait(hooked, hooked.begin("wait", agent_id="a1")).end() == (0, "")


def test_a_doorbell_that_is_deleted_is_made_again(wait: Wait) -> None:
    for path in Path(f"{wait.hooked.db}-bells").joinpath(ALL_TRAFFIC).iterdir():
        path.unlink()
    wait_for_waiting(wait.hooked.db, ALL_TRAFFIC)

    wait.hooked.send()

    assert wait.end() == (2, NOTICE)


def test_without_a_doorbell_the_wait_looks_at_the_mail_now_and_then(hooked: Hooked) -> None:
    Path(f"{hooked.db}-bells").mkdir(0o700, exist_ok=True)
    Path(f"{hooked.db}-bells/{ALL_TRAFFIC}").write_text("a file where a folder should be")
    wait = Wait(hooked, hooked.begin("wait"))
    wait_until(lambda: f"{SESSION}.waiting" in hooked.files(), "the wait")

    hooked.send()

    assert wait.end() == (2, NOTICE)


def test_a_session_is_woken_sixty_times_in_an_hour(hooked: Hooked) -> None:
    wakes = Wakes(hooked.db, SESSION)
    for _ in range(MAX_WAKES - 1):
        wakes.woke(again=False)
    hooked.send()
    assert Wait(hooked, hooked.begin("wait")).end()[0] == 2

    message_id = hooked.send()
    wait = Wait(hooked, hooked.begin("wait"))
    wait_for_waiting(hooked.db, ALL_TRAFFIC)
    hooked.send(urgency="fyi")
    wait_until(lambda: not has_unread_ring(hooked.db), "an answer to the ring, after a look at the mail")
    wait.process.terminate()
    assert wait.end() == (0, "")
    assert f"#{message_id} " in (hooked.hook("UserPromptSubmit").context or "")


def has_unread_ring(db: str) -> bool:
    """Whether the doorbell of the wait holds a ring that it has not answered; only Linux tells."""
    (path,) = Path(f"{db}-bells").joinpath(ALL_TRAFFIC).iterdir()
    pipe = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    try:
        return holds_ring(pipe)
    finally:
        os.close(pipe)


def test_a_wait_takes_no_ring_from_a_subscriber(wait: Wait) -> None:
    assert waiting(wait.hooked.db, "verifier:pay") == 0


def test_a_waiting_hook_uses_no_processor_time(wait: Wait) -> None:
    def used_s() -> float:
        fields = Path(f"/proc/{wait.process.pid}/stat").read_bytes().rpartition(b")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    if not os.path.isdir("/proc/self"):
        pytest.skip("needs /proc")
    before, began = used_s(), time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired):
        wait.process.wait(3)

    assert (used_s() - before) / (time.monotonic() - began) <= 0.02
