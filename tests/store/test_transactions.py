"""Transactions: many writes of one thread in one commit, each of which can still fail alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest

from raven import (
    BusClient,
    BusTransaction,
    BusyError,
    InputError,
    MessageNotFoundError,
    UnknownAddressError,
)
from raven.wake.doorbell import Doorbells
from tests.support import DEADLINE_S, Foreign, Program

Connect = Callable[..., BusClient]
Spawn = Callable[..., Program]


@contextmanager
def undone(bus: BusClient) -> Iterator[BusTransaction]:
    """Run a transaction around a block, and leave it by an exception."""
    with suppress(ZeroDivisionError), bus.transaction() as tx:
        yield tx
        raise ZeroDivisionError


def bodies(foreign: Foreign) -> list[Any]:
    """Return the messages that another process sees on the bus."""
    return [row[0] for row in foreign.execute("SELECT body ->> '$' FROM messages ORDER BY id")]


def test_another_process_sees_nothing_of_a_block_before_its_end_and_then_all(
    connect: Connect, foreign: Foreign
) -> None:
    bus = connect("worker:s")
    first = bus.send("worker:s", "note", "first")

    with bus.transaction() as same:
        same.ack(first.id)
        same.send("worker:s", "note", "second")
        same.register("other:s")
        seen = bodies(foreign), foreign.value("SELECT count(*) FROM identities"), foreign.value("SELECT state FROM log")

    assert same.address == bus.address
    assert [getattr(result, "body", result) for result in same.results] == [None, "second", None]
    assert seen == (["first"], 1, 0)
    assert bodies(foreign) == ["first", "second"]
    assert [peer.address for peer in bus.peers()] == ["other:s", "worker:s"]
    assert bus.read(first.id).state == "acked"


def test_a_block_sees_its_own_writes(connect: Connect) -> None:
    bus = connect("worker:s")

    with bus.transaction() as tx:
        sent = tx.send("worker:s", "note", "mine")
        shown = tx.inbox()
        tx.ack(sent.id)
        assert tx.inbox() == []

    assert [(msg.body, msg.state) for msg in shown] == [("mine", "delivered")]
    assert bus.read(sent.id).state == "acked"


def test_a_write_that_raises_is_rolled_back_alone(connect: Connect, foreign: Foreign) -> None:
    bus = connect("worker:s")

    with bus.transaction() as tx:
        tx.send("worker:s", "note", "before")
        with pytest.raises(UnknownAddressError):
            tx.send_many([{"to": "worker:s", "type": "note", "body": "lost"}, {"to": "*:nowhere", "type": "note"}])
        with pytest.raises(MessageNotFoundError):
            tx.ack(7)
        tx.send("worker:s", "note", "after")

    assert bodies(foreign) == ["before", "after"]
    assert foreign.value("SELECT count(*) FROM deliveries") == 2


def test_an_exception_that_leaves_the_block_rolls_it_back(connect: Connect, foreign: Foreign) -> None:
    bus = connect("worker:s")
    first = bus.send("worker:s", "note", "first")

    def work() -> None:
        with bus.transaction() as tx:
            tx.ack(first.id)
            tx.send("worker:s", "note", "undone")
            tx.register("other:s")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    bus.send("worker:s", "note", "later")

    assert bodies(foreign) == ["first", "later"]
    assert [msg.body for msg in bus.inbox()] == ["first", "later"]
    assert [peer.address for peer in bus.peers()] == ["worker:s"]


def test_doorbells_ring_after_the_commit_and_only_for_committed_messages(db: str, connect: Connect) -> None:
    bus = connect("boss:s")
    doorbells = {name: Doorbells(db).create(f"{name}:s") for name in ("kept", "failed", "inner", "undone")}

    with bus.transaction() as tx:
        tx.send("kept:s", "note")
        with pytest.raises(UnknownAddressError):
            tx.send(["failed:s", "*:nowhere"], "note")
        with undone(bus):
            tx.send("inner:s", "note")
        assert not any(doorbell.wait(0) for doorbell in doorbells.values())
    ringing = [name for name, doorbell in doorbells.items() if doorbell.wait(0)]
    with undone(bus):
        bus.send("undone:s", "note")

    assert ringing == ["kept"]
    assert not any(doorbell.wait(0) for doorbell in doorbells.values())
    for doorbell in doorbells.values():
        doorbell.close()


def test_one_commit_rings_for_every_recipient_in_it(db: str, connect: Connect) -> None:
    bus = connect("boss:s")
    doorbells = [Doorbells(db).create(address) for address in ("a:s", "b:s", "*")]

    with bus.transaction() as tx:
        tx.send("a:s", "note")
        with tx.transaction():
            tx.send("b:s", "note")

    assert all(doorbell.wait(0) for doorbell in doorbells)
    for doorbell in doorbells:
        doorbell.close()


def test_an_inner_block_is_committed_with_the_outer_one_and_rolled_back_alone(
    connect: Connect, foreign: Foreign
) -> None:
    bus = connect("worker:s")
    bus.execute("CREATE TABLE own (value)")

    with bus.transaction() as tx:
        tx.send("worker:s", "note", "outer")
        tx.execute("INSERT INTO own VALUES ('outer')")
        with undone(bus):
            tx.send("worker:s", "note", "undone")
            tx.execute("UPDATE own SET value = 'undone'; INSERT INTO own VALUES ('undone')")
        with tx.transaction():
            tx.send("worker:s", "note", "inner")
            tx.execute("INSERT INTO own VALUES ('inner')")
        assert bodies(foreign) == []
        tx.send("worker:s", "note", "last")

    assert bodies(foreign) == ["outer", "inner", "last"]
    assert foreign.execute("SELECT value FROM own") == [["outer"], ["inner"]]


def test_an_outer_block_that_fails_rolls_back_the_inner_ones(connect: Connect, foreign: Foreign) -> None:
    bus = connect("worker:s")

    with undone(bus), bus.transaction() as tx, bus.transaction() as tx:
        tx.send("worker:s", "note", "undone")

    assert bodies(foreign) == []
    assert bus.inbox() == []


def test_other_threads_of_the_client_wait_for_the_end_of_a_block(connect: Connect, foreign: Foreign) -> None:
    bus = connect("worker:s")
    with ThreadPoolExecutor(1) as pool:
        with undone(bus) as tx:
            waiting = pool.submit(bus.send, "worker:s", "note", "of the other thread")
            with pytest.raises(TimeoutError):
                waiting.result(0.2)
            tx.send("worker:s", "note", "undone")
        waiting.result(DEADLINE_S)

    assert bodies(foreign) == ["of the other thread"]


def test_other_connections_cannot_write_until_the_block_ends(connect: Connect) -> None:
    bus, other = connect("worker:s"), connect("other:s", busy_timeout_s=0.05)

    with bus.transaction():
        with pytest.raises(BusyError):
            other.send("worker:s", "note")
        with pytest.raises(BusyError):
            other.transaction().__enter__()
        assert other.inbox(peek=True) == []
    with other.transaction() as tx:
        tx.send("worker:s", "note", "later")

    assert [msg.body for msg in bus.inbox()] == ["later"]


def test_a_block_of_another_process_is_visible_after_its_end(
    db: str, connect: Connect, spawn: Spawn, foreign: Foreign
) -> None:
    doorbell = Doorbells(db).create("worker:s")
    bus = connect("worker:s")
    other = spawn("transaction_sender", db, "worker:s", "a", "b")
    other.read()
    assert (bodies(foreign), doorbell.wait(0)) == ([], False)

    other.ask(None)

    assert doorbell.wait(0)
    assert [msg.body for msg in bus.inbox()] == ["a", "b"]
    doorbell.close()


def test_a_wrapper_that_yields_inside_a_block_makes_one_commit(connect: Connect, foreign: Foreign) -> None:
    bus = connect("worker:s")

    @contextmanager
    def wrapper() -> Iterator[BusClient]:
        with bus.transaction() as inside:
            inside.send("worker:s", "note", "of the wrapper")
            yield inside

    with wrapper() as inside:
        inside.send("worker:s", "note", "of its user")
        assert bodies(foreign) == []
    with pytest.raises(ZeroDivisionError), wrapper():
        raise ZeroDivisionError

    assert bodies(foreign) == ["of the wrapper", "of its user"]


def test_a_stack_of_contexts_holds_a_block_open(connect: Connect, foreign: Foreign) -> None:
    bus = connect("worker:s")

    with ExitStack() as stack:
        stack.enter_context(bus.transaction()).send("worker:s", "note", "kept")
        stack.enter_context(bus.transaction()).send("worker:s", "note", "kept, too")
        assert bodies(foreign) == []
    with undone(bus), ExitStack() as stack:
        stack.enter_context(bus.transaction()).send("worker:s", "note", "undone")

    assert bodies(foreign) == ["kept", "kept, too"]


def test_a_read_of_another_thread_does_not_wait_for_the_end_of_a_block(connect: Connect) -> None:
    bus = connect("worker:s")
    first = bus.send("worker:s", "note", "first")

    with ThreadPoolExecutor(1) as other, bus.transaction() as tx:
        tx.ack(first.id)
        tx.send("worker:s", "note", "second")
        # Read while the transaction is open, and limited to earlier commits.
        shown = other.submit(bus.inbox, peek=True).result(DEADLINE_S)
        seen = other.submit(bus.read, first.id).result(DEADLINE_S)
        mine = tx.inbox(peek=True)

    assert [msg.body for msg in shown] == ["first"]
    assert seen.state == "sent"
    assert [msg.body for msg in mine] == ["second"]
    assert [msg.body for msg in bus.inbox(peek=True)] == ["second"]


def test_a_read_of_another_thread_uses_the_current_file(db: str, connect: Connect) -> None:
    bus, boss = connect("worker:s"), connect("boss:s")
    with ThreadPoolExecutor(1) as other:
        for number in range(3):
            boss.send("worker:s", "note", number)
            with bus.transaction() as tx:
                tx.send("other:s", "note", "unseen")
                shown = other.submit(bus.inbox, peek=True).result(DEADLINE_S)
            assert [msg.body for msg in shown] == [*range(number + 1)]


def test_a_transaction_accepts_calls_only_of_its_own_thread_and_within_its_block(connect: Connect) -> None:
    bus = connect("worker:s")
    tx = bus.transaction()

    with pytest.raises(InputError, match="has ended, or was not entered"):
        tx.send("worker:s", "note")
    with ThreadPoolExecutor(1) as other, tx:
        with pytest.raises(InputError, match="belongs to the thread that entered it"):
            other.submit(tx.send, "worker:s", "note").result(DEADLINE_S)
        tx.send("worker:s", "note", "mine")
    with pytest.raises(InputError, match="has ended"):
        tx.ack(1)

    assert [msg.body for msg in bus.inbox()] == ["mine"]


def test_old_code_that_writes_through_the_client_in_its_block_is_warned_at_its_own_line(connect: Connect) -> None:
    bus = connect("worker:s")

    with suppress(ZeroDivisionError), bus.transaction() as tx:
        with pytest.warns(DeprecationWarning, match="use the transaction's own methods") as warned:
            bus.send("worker:s", "note", "undone, too")
        with pytest.warns(DeprecationWarning, match="a transaction has no peers"):
            tx.peers()
        raise ZeroDivisionError

    assert [one.filename for one in warned] == [__file__]
    assert bus.inbox() == []


def test_results_holds_the_results_of_the_successful_calls(connect: Connect) -> None:
    bus = connect("worker:s")
    first = bus.send("worker:s", "note", 1)

    with bus.transaction() as tx:
        [claimed] = tx.claim()
        with pytest.raises(MessageNotFoundError):
            tx.ack(99)
        tx.execute("CREATE TABLE mine (n)")
        tx.execute("INSERT INTO mine VALUES (7)")
        rows = tx.execute("SELECT n FROM mine")
        tx.nack(claimed.id)
        with tx.transaction() as inner:
            inner.send("worker:s", "note", 2)

    assert claimed.id == first.id
    assert tx.results == [[claimed], [], [], [(7,)], "delivered"] == [[claimed], [], [], rows, "delivered"]
    assert [msg.body for msg in inner.results] == [2]
