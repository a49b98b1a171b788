"""Transactions in what seldom happens to them: left at the very door, forked amid, on a file that is another now."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from raven import BusClient, ClosedError, DatabaseError, InputError
from raven.delivery import outbox as posting
from raven.delivery import retention
from raven.delivery.identity import register
from raven.model.address import parse_address
from raven.store import fork_safety as forks
from raven.store.atomic import Group
from raven.store.database import Store
from raven.store.transaction import Transaction
from tests.support import DEADLINE_S, wait_until

Connect = Callable[..., BusClient]


@pytest.fixture
def store(db: str) -> Iterator[Store]:
    with BusClient.at("boss:s", db) as bus:
        bus.register("worker:s")
    found = Store(db)
    yield found
    found.close()


def addresses(store: Store) -> list[str]:
    return [row[0] for row in store.rows("matching_addresses", {"role": "*", "session": "*"})]


def put(tx: Transaction, address: str) -> None:
    """Write something: that an address is registered."""
    register(tx, parse_address(address))


def another_file(db: str) -> None:
    """Put another bus in the place of the one at `db`, with one message of its own."""
    with BusClient.at("new:s", f"{db}.new") as bus:
        bus.send("new:s", "note", "new")
    os.replace(f"{db}.new", db)


def test_a_write_inside_a_write_of_the_same_thread_is_refused_and_the_first_goes_on(store: Store) -> None:
    with store.write() as tx:
        with pytest.raises(DatabaseError, match=r"in a transaction .* already"), store.write():
            pass
        put(tx, "late:s")

    assert "late:s" in addresses(store)


def test_a_write_that_was_left_at_the_very_door_of_its_exit_is_undone_by_the_next(store: Store) -> None:
    def interrupted() -> None:
        put(store.write().__enter__(), "lost:s")

    interrupted()
    with store.write() as tx:
        put(tx, "next:s")

    assert "next:s" in addresses(store)
    assert "lost:s" not in addresses(store)


def test_a_store_that_is_closed_within_a_write_closes_once_that_is_committed(db: str, store: Store) -> None:
    with store.write() as tx:
        put(tx, "late:s")
        store.close()

    with pytest.raises(ClosedError):
        addresses(store)
    other = Store(db)
    assert "late:s" in addresses(other)
    other.close()


def test_a_group_that_is_interrupted_as_it_begins_leaves_no_transaction_behind(store: Store, db: str) -> None:
    class Interrupted(Store):
        def begin_group(self) -> None:
            super().begin_group()
            raise KeyboardInterrupt  # as a signal handler does

    interrupted = Interrupted(db)

    with pytest.raises(KeyboardInterrupt), Group(interrupted, None):
        pass

    assert interrupted.group_depth() == 0
    with store.impatient(), store.write() as tx:
        put(tx, "free:s")
    interrupted.close()


def test_a_group_that_is_left_twice_is_committed_once(connect: Connect) -> None:
    bus = connect("boss:s")
    group = bus.transaction()
    group.__enter__().send("boss:s", "note")

    group.__exit__(None, None, None)
    group.__exit__(None, None, None)

    assert bus.last_id() == 1
    bus.send("boss:s", "note")
    assert bus.last_id() == 2


def test_no_group_begins_within_one_whose_file_was_replaced(db: str, connect: Connect) -> None:
    bus = connect("boss:s")

    def nested() -> None:
        with bus.transaction() as tx:
            tx.send("boss:s", "note")
            another_file(db)
            tx.transaction().__enter__()

    with pytest.raises(DatabaseError, match="was replaced during a transaction"):
        nested()

    assert [message.body for message in bus.tail(follow=False)] == ["new"]


def test_a_read_that_fails_on_a_file_that_is_no_longer_there_is_answered_by_the_new_one(
    db: str, connect: Connect
) -> None:
    bus = connect("boss:s")
    bus.send_many([{"to": "boss:s", "type": "note", "body": "x" * 4000}] * 200)
    bus._store.trim_wal()
    reader = Store(db)
    os.link(db, f"{db}.old")
    another_file(db)
    os.truncate(f"{db}.old", 8192)

    rows = reader.rows("message_whole", {"message_id": 1})

    assert "new" in str(rows)
    assert reader.replaced == 1
    reader.close()


def test_a_forked_child_that_forks_before_it_uses_the_bus_leaves_a_child_that_can(store: Store) -> None:
    store.forsake()
    store.forsake()

    assert "worker:s" in addresses(store)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of newer Pythons, about a fork beside threads
def test_a_fork_waits_for_a_thread_that_takes_long_with_the_bus(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forks, "_FIRST_GRACE_S", 0.001)
    main, held = threading.get_ident(), threading.Event()

    def is_awaited() -> bool:
        frame = sys._current_frames()[main]
        while frame is not None and frame.f_code.co_name != "before_fork":
            frame = frame.f_back
        return frame is not None and frame.f_locals["timeout_s"] == -1

    def take_long() -> None:
        with store.write() as tx:
            held.set()
            wait_until(is_awaited, "the fork")
            put(tx, "late:s")

    thread = threading.Thread(target=take_long)
    thread.start()
    assert held.wait(DEADLINE_S)

    child = os.fork()
    if not child:
        os._exit(0)

    assert os.waitpid(child, 0)[1] == 0
    thread.join(DEADLINE_S)
    assert "late:s" in addresses(store)


def test_a_broadcast_to_more_recipients_than_a_message_may_have_is_refused(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(posting, "MAX_RECIPIENTS", 2)
    bus = connect("boss:s")
    bus.register("worker:a", "worker:b", "worker:c")

    with pytest.raises(InputError, match="3 recipients is over the limit of 2"):
        bus.send("worker:*", "note")

    assert bus.last_id() == 0


def test_what_was_found_to_be_old_in_one_file_is_not_dropped_from_another(db: str, store: Store) -> None:
    found_in = store.replaced
    another_file(db)

    retention._drop(store, found_in, [1])

    assert store.value("last_message_id") == 1
    assert store.replaced == found_in + 1


def test_a_bus_within_limits_gives_back_many_free_pages(
    db: str, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_SPARE_PAGES", 8)
    with BusClient.at("boss:s", db) as bus:
        bus.register("worker:s")
        bus.send_many([{"to": "worker:s", "type": "note", "body": "x" * 4000}] * 100)
        for message in (worker := connect("worker:s")).claim(max=100):
            worker.ack(message.id)
        bus._store.checkpoint()
        before = int(bus._store.pragma("page_count"))
        keeper = retention.Keeper(bus._store, retention.Retention(max_messages=1))

        while keeper.bite():
            pass

        assert int(bus._store.pragma("page_count")) < before
    assert Path(db).exists()
