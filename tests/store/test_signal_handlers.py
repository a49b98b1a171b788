"""Signal handlers that use the client in the middle of a call of the same thread."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

import pytest

from raven import BusClient, ClosedError, DatabaseError
from raven.store.atomic import Atomic
from raven.store.database import Store
from raven.store.transaction import Transaction
from tests.stores import put, registered
from tests.support import DEADLINE_S, wait_until

Connect = Callable[..., BusClient]
Handle = Callable[[Callable[[], object]], None]


@pytest.fixture
def handle() -> Iterator[Handle]:
    """Return a function that makes another one the handler of SIGUSR1."""
    before = signal.getsignal(signal.SIGUSR1)

    def set_handler(run: Callable[[], object]) -> None:
        def handler(number: int, frame: FrameType | None) -> None:
            run()

        signal.signal(signal.SIGUSR1, handler)

    yield set_handler
    signal.signal(signal.SIGUSR1, before)


def calls_of(thread: int) -> list[str]:
    """Return the names of the functions that a thread is in."""
    names, frame = [], sys._current_frames().get(thread)
    while frame is not None:
        names.append(frame.f_code.co_name)
        frame = frame.f_back
    return names


@pytest.mark.parametrize("way", ["send", "transaction"])
def test_a_handler_writes_while_its_thread_waits_for_another_threads_transaction(
    connect: Connect, handle: Handle, way: str
) -> None:
    bus = connect("worker:s")
    main, begun, interrupted = threading.get_ident(), threading.Event(), threading.Event()

    def send() -> None:
        if way == "send":
            bus.send("reader:s", "from the handler")
        else:
            with bus.transaction() as tx:
                tx.send("reader:s", "from the handler")

    def run() -> None:
        interrupted.set()
        send()

    def hold() -> None:
        with bus.transaction() as tx:
            tx.send("reader:s", "first")
            begun.set()
            wait_until(lambda: "wait_for_others" in calls_of(main), "the send to wait")
            signal.pthread_kill(main, signal.SIGUSR1)
            assert interrupted.wait(DEADLINE_S)

    handle(run)
    thread = threading.Thread(target=hold)
    thread.start()
    assert begun.wait(DEADLINE_S)
    bus.send("reader:s", "last")
    thread.join(DEADLINE_S)

    assert [message.type for message in connect("reader:s").inbox()] == ["first", "from the handler", "last"]


@pytest.mark.parametrize("way", ["write", "block"])
def test_a_handler_inside_a_step_of_an_atomic_block_is_refused_and_the_step_loses_nothing(
    store: Store, handle: Handle, way: str
) -> None:
    rung: list[str] = []

    def use() -> None:
        if way == "write":
            store.write(lambda tx: put(tx, "handler:s"))
        with Atomic(store):
            pass

    def refused() -> None:
        with pytest.raises(DatabaseError, match="already in a transaction"):
            use()

    def step(tx: Transaction) -> None:
        signal.raise_signal(signal.SIGUSR1)
        tx.after_commit(rung.extend, ["step:s"])
        put(tx, "step:s")

    handle(refused)
    with Atomic(store):
        store.write(step)
        store.write(lambda tx: put(tx, "next:s"))

    assert rung == ["step:s"]
    assert {"step:s", "next:s"} <= set(registered(store))
    assert "handler:s" not in registered(store)


@pytest.mark.parametrize("where", ["block", "step"])
def test_a_client_closed_by_a_handler_inside_a_transaction_undoes_it_and_frees_the_bus(
    db: str, store: Store, handle: Handle, where: str
) -> None:
    def step(tx: Transaction) -> None:
        put(tx, "late:s")
        if where == "step":
            signal.raise_signal(signal.SIGUSR1)

    def run() -> None:
        with Atomic(store):
            store.write(step)
            if where == "block":
                signal.raise_signal(signal.SIGUSR1)
            store.write(step)

    handle(store.close)
    with pytest.raises(ClosedError):
        run()

    assert store.connection is None
    other = Store(db, busy_timeout_s=0)
    assert "late:s" not in registered(other)
    other.write(lambda tx: put(tx, "next:s"))
    other.close()
