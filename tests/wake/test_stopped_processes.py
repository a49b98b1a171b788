"""Processes that are stopped or killed midway: their leases and locks become free in time."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import SimpleNamespace

import pytest

from raven import BusClient, BusyError
from scripts.harness.deadline import Limit
from scripts.harness.program import Program as Actor
from scripts.stress.processes.exit_in_transaction import TABLE
from scripts.stress.processes.sigstop import watcher
from tests.support import (
    NEVER_POLLS_S,
    Foreign,
    Program,
    is_watched,
    leased,
    wait_for_waiting,
    wait_for_watch,
    wait_until,
)

Connect = Callable[..., BusClient]
Spawn = Callable[..., Program]
ADDRESS = "worker:s"
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who holds a lock")


@pytest.fixture
def stand(db: str) -> Iterator[Callable[..., Actor]]:
    """Start a process that runs commands one after another."""
    with ExitStack() as stack:
        yield lambda address, lease_s=30.0: stack.enter_context(
            Actor("stress.processes.step_by_step", db, address, str(lease_s), greets=True)
        )


def test_a_stopped_consumer_loses_its_lease_to_another_and_gets_an_error(
    connect: Connect, stand: Callable[..., Actor]
) -> None:
    id = connect("boss:s").send(ADDRESS, "job").id
    stopped, other = stand(ADDRESS, 0.5), connect(ADDRESS)
    stopped.tell("claim")
    assert stopped.line() == f"{id} 1"
    stopped.signal(signal.SIGSTOP)

    [again] = wait_until(other.claim, "the end of the lease")
    stopped.signal(signal.SIGCONT)
    stopped.tell("ack")

    assert (again.id, again.attempts) == (id, 2)
    assert stopped.line() == "LeaseLostError"
    other.ack(id)


def test_while_a_stopped_process_holds_the_write_lock_others_get_busy_errors_and_work_afterwards(
    connect: Connect, stand: Callable[..., Actor]
) -> None:
    bus = connect("boss:s", busy_timeout_s=0.2)
    writer = stand("writer:s")
    writer.tell("begin")
    assert writer.line() == "begun"
    writer.signal(signal.SIGSTOP)

    with pytest.raises(BusyError) as caught:
        bus.send(ADDRESS, "note")
    seen = bus.inbox(peek=True)
    writer.signal(signal.SIGCONT)
    writer.tell("commit")

    assert caught.value.retryable
    assert seen == []
    assert writer.line() == "committed"
    assert bus.send(ADDRESS, "note").id == 2


@linux_only
def test_a_stopped_wal_watcher_stays_elected_and_external_writes_are_noticed_at_the_next_poll(
    db: str, connect: Connect, spawn: Spawn, foreign: Foreign
) -> None:
    connect("boss:s")
    elected = spawn("subscriber", db, "elected:s", '{"poll_interval_s": 60}')
    wait_until(lambda: watcher(db) == elected.pid, "the watch")
    waits = spawn("subscriber", db, ADDRESS, '{"poll_interval_s": 0.5}')
    wait_for_waiting(db, ADDRESS)
    elected.signal(signal.SIGSTOP)

    for number in range(3):
        foreign.send(ADDRESS, number)
        assert waits.read()["body"] == number
    still = watcher(db)
    elected.signal(signal.SIGCONT)

    assert still == elected.pid
    never_polls = spawn("subscriber", db, "third:s", f'{{"poll_interval_s": {NEVER_POLLS_S}}}')
    wait_for_waiting(db, "third:s")
    foreign.send("third:s", "by the watch")
    assert never_polls.read()["body"] == "by the watch"


@pytest.mark.parametrize("way", ["sys.exit", "os._exit", "exception", "kill", "abort", "sigterm", "thread", "atexit"])
def test_a_process_that_exits_in_a_transaction_leaves_no_writes_and_no_lock(
    db: str, connect: Connect, foreign: Foreign, way: str
) -> None:
    bus = connect("boss:s", busy_timeout_s=20)
    bus.execute(TABLE)
    job = bus.send(f"exiting-{way}:s", "job")

    with Actor("stress.processes.exit_in_transaction", db, "reader:s", way, greets=True) as process:
        if way in ("kill", "thread"):
            process.signal(signal.SIGKILL)
        process.wait()
    began = time.monotonic()
    bus.send("reader:s", "note", "the only one")

    assert time.monotonic() - began < Limit(10)
    assert [(one.state, one.attempts) for one in bus.receipts(job.id)] == [("sent", 0)]
    assert leased(foreign) == 0
    assert bus.execute("SELECT * FROM exit_rows") == []
    assert [message.body for message in connect("reader:s").inbox()] == ["the only one"]


@linux_only
def test_when_inotify_instances_are_free_again_the_wal_watcher_takes_one(db: str, connect: Connect) -> None:
    bus = connect("boss:s")
    with Actor("stress.processes.use_up_inotify", db, ADDRESS, greets=True) as inotify_user:
        for line in ("use up", "listen"):
            inotify_user.tell(line)
        taken = int(inotify_user.line())
        assert [inotify_user.line() for _ in range(2)] == ["ready", "listening"]
        wait_until(lambda: is_watched(db), "the watch")
        inotify_user.tell("doctor")
        state = inotify_user.line()
        bus.send(ADDRESS, "note", "without")
        assert inotify_user.line() == "without"

        inotify_user.tell("release")

        assert inotify_user.line() == "released"
        assert taken > 0
        assert state == "warn"
        wait_for_watch(db, SimpleNamespace(pid=watcher(db)))
