"""A fork waits until other threads finish with the bus, without a deadlock."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable

import pytest

from raven import BusClient
from raven.store import fork_safety
from raven.store.atomic import Atomic
from raven.store.database import Store
from raven.store.transaction import Transaction
from tests.stores import put, registered
from tests.support import DEADLINE_S, Program, wait_until

Connect = Callable[..., BusClient]


@pytest.mark.parametrize("attempt", range(3))  # the order in which clients are held is left to chance
@pytest.mark.parametrize("what", ["other", "new", "fork"])
def test_a_fork_does_not_deadlock_with_a_thread_in_a_transaction_that_opens_a_client_or_forks(
    db: str, spawn: Callable[..., Program], what: str, attempt: int
) -> None:
    assert spawn("fork_in_call", db, f"{db}.other-{attempt}", what).read() == 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of newer Pythons, about a fork beside threads
def test_a_fork_waits_for_a_slow_call_of_another_thread(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fork_safety, "_FIRST_TIMEOUT_S", 0.001)
    main, held = threading.get_ident(), threading.Event()

    def is_awaited() -> bool:
        frame = sys._current_frames()[main]
        while frame is not None and frame.f_code.co_name != "hold":
            frame = frame.f_back
        return frame is not None and frame.f_locals["timeout_s"] == -1

    def take_long(tx: Transaction) -> None:
        held.set()
        wait_until(is_awaited, "the fork")
        put(tx, "late:s")

    thread = threading.Thread(target=store.write, args=(take_long,))
    thread.start()
    assert held.wait(DEADLINE_S)

    child = os.fork()
    if not child:
        os._exit(0)

    assert os.waitpid(child, 0)[1] == 0
    thread.join(DEADLINE_S)
    assert "late:s" in registered(store)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_forked_while_another_thread_has_the_next_turn_begins_transactions(db: str, store: Store) -> None:
    taken, done = threading.Event(), threading.Event()

    def take() -> None:
        with store.turn:  # as a write that waits for the end of an atomic block does
            taken.set()
            assert done.wait(DEADLINE_S)

    thread = threading.Thread(target=take)
    thread.start()
    assert taken.wait(DEADLINE_S)

    child = os.fork()
    if not child:
        signal.alarm(int(DEADLINE_S))
        with Atomic(store):
            store.write(lambda tx: put(tx, "child:s"))
        os._exit(0)

    assert os.waitpid(child, 0)[1] == 0
    done.set()
    thread.join(DEADLINE_S)
    assert "child:s" in registered(store)


def test_a_loop_that_a_forked_child_continues_ends_there(
    connect: Connect, spawn: Callable[..., object], db: str
) -> None:
    connect("boss:s")

    program = spawn("forked_loop", db, "worker:s")

    assert program.read() == "the child's loop has ended"  # type: ignore[attr-defined]
