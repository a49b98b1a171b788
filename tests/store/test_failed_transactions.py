"""Transactions that do not reach their end: killed, dropped, forked, or with their file replaced."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from raven import (
    BusClient,
    BusTransaction,
    DatabaseError,
    FileMissingError,
    RavenError,
    StatementError,
    UnknownAddressError,
)
from raven.host.bus import HostedBus
from raven.store.database import Store
from raven.store.transaction import Transaction
from tests.stores import put, registered
from tests.support import DEADLINE_S, Foreign, Program

Connect = Callable[..., BusClient]
Hosted = Callable[..., HostedBus]
Spawn = Callable[..., Program]
BODIES = "SELECT body ->> '$' FROM messages ORDER BY id"


def addresses(bus: BusClient) -> list[str]:
    """Return the registered addresses."""
    return [peer.address for peer in bus.peers() if peer.registered_at]


def test_a_block_dropped_without_its_end_is_rolled_back(connect: Connect, foreign: Foreign) -> None:
    bus = connect("worker:s")
    group = bus.transaction()
    group.__enter__()
    bus.send("worker:s", "note", "undone")

    del group
    bus.send("worker:s", "note", "later")

    assert foreign.execute(BODIES) == [["later"]]
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(bus.send, "worker:s", "note").result(DEADLINE_S)


@pytest.mark.parametrize("then", ["ends", "writes again", "begins another"])
def test_a_block_whose_file_was_replaced_raises_and_neither_file_has_half_of_it(
    db: str, tmp_path: Path, connect: Connect, then: str
) -> None:
    bus = connect("worker:s")
    BusClient.at("backup:s", str(tmp_path / "new.db")).close()
    (tmp_path / "old").mkdir()

    def work() -> None:
        with bus.transaction() as tx:
            tx.send("worker:s", "note", "lost")
            for end in ("-wal", "-shm", ""):
                os.rename(db + end, tmp_path / "old" / f"bus.db{end}")
            os.rename(tmp_path / "new.db", db)
            if then == "writes again":
                tx.send("worker:s", "note", "lost, too")
            elif then == "begins another":
                tx.transaction().__enter__()

    with pytest.raises(DatabaseError, match="was replaced during a transaction"):
        work()
    bus.send("worker:s", "note", "later")

    assert [msg.body for msg in bus.tail(follow=False)] == ["later"]
    assert addresses(bus) == ["backup:s", "worker:s"]
    assert Store(str(tmp_path / "old" / "bus.db")).value("last_message_id") == 0


@pytest.mark.parametrize("writes_again", [True, False])
def test_a_block_whose_file_was_deleted_raises_until_the_file_is_restored(
    db: str, connect: Connect, writes_again: bool
) -> None:
    bus = connect("worker:s")

    def work() -> None:
        with bus.transaction() as tx:
            tx.send("worker:s", "note", "lost")
            os.rename(db, f"{db}.away")
            if writes_again:
                tx.send("worker:s", "note", "lost, too")

    with pytest.raises(FileMissingError, match="was deleted or moved"):
        work()
    with pytest.raises(FileMissingError):
        bus.transaction().__enter__()
    os.rename(f"{db}.away", db)
    with bus.transaction() as tx:
        tx.send("worker:s", "note", "later")

    assert [msg.body for msg in bus.inbox()] == ["later"]


@pytest.mark.parametrize(
    ("fail", "error"),
    [
        (lambda tx: tx.send("worker:s", "fail"), DatabaseError),
        (lambda tx: tx.execute("INSERT OR ROLLBACK INTO own VALUES (1); INSERT INTO own VALUES (2)"), StatementError),
    ],
)
def test_a_block_that_sqlite_rolled_back_refuses_writes_and_its_commit(
    connect: Connect, foreign: Foreign, fail: Callable[[BusTransaction], object], error: type[RavenError]
) -> None:
    """Raise as a full disk does: SQLite then rolls back the whole transaction, not only the statement."""
    bus = connect("worker:s")
    bus.execute("CREATE TABLE own (id INTEGER PRIMARY KEY); INSERT INTO own VALUES (1)")
    foreign.execute(
        "CREATE TRIGGER failing BEFORE INSERT ON messages WHEN NEW.type = 'fail' "
        "BEGIN SELECT RAISE(ROLLBACK, 'failed by a trigger'); END"
    )

    def work() -> None:
        with bus.transaction() as tx:
            tx.send("worker:s", "note", "lost")
            with pytest.raises(error, match=r"failed by a trigger|UNIQUE constraint failed"):
                fail(tx)
            with pytest.raises(DatabaseError, match="was rolled back by an earlier error in it"):
                tx.send("worker:s", "note", "lost, too")
            with pytest.raises(DatabaseError, match="was rolled back by an earlier error in it"):
                tx.execute("INSERT INTO own VALUES (3)")

    with pytest.raises(DatabaseError, match="was rolled back by an earlier error in it"):
        work()
    bus.send("worker:s", "note", "later")

    assert foreign.execute(BODIES) == [["later"]]
    assert foreign.execute("SELECT id FROM own") == [[1]]


def test_a_block_continues_after_a_fork_inside_it_and_the_child_cannot_use_it(
    db: str, connect: Connect, spawn: Spawn, foreign: Foreign
) -> None:
    connect("worker:s")
    program = spawn("forked_transaction", db, "worker:s")

    child, parent = program.read(), program.read()

    assert child["is_child"]
    assert len(child["errors"]) == 2
    assert "fork outside of it" in child["errors"][0]
    assert parent == {"is_child": False, "errors": []}
    assert foreign.execute(BODIES) == [["before the fork"], ["after the fork"]]


def test_an_address_whose_first_block_was_rolled_back_registers_with_its_next_write(hosted: Hosted) -> None:
    bus = hosted("boss:s")
    newcomer = bus.for_address("newcomer:s")

    with suppress(ZeroDivisionError), bus.transaction():
        newcomer.send("boss:s", "note")
        raise ZeroDivisionError
    before = addresses(bus)
    newcomer.send("boss:s", "note")

    assert before == ["boss:s"]
    assert addresses(bus) == ["boss:s", "newcomer:s"]


def test_an_address_whose_first_write_failed_in_a_block_registers_with_the_next_one_there(hosted: Hosted) -> None:
    bus = hosted("boss:s")
    newcomer = bus.for_address("newcomer:s")

    with bus.transaction() as tx:
        with pytest.raises(UnknownAddressError):
            newcomer.send("*:nowhere", "note")
        tx.send("boss:s", "note")
        assert addresses(bus) == ["boss:s"]
        newcomer.send("boss:s", "note")

    assert addresses(bus) == ["boss:s", "newcomer:s"]


def test_a_write_inside_a_write_of_the_same_thread_is_refused_and_the_outer_one_continues(store: Store) -> None:
    def step(tx: Transaction) -> None:
        with pytest.raises(DatabaseError, match="already in a transaction"):
            store.write(lambda tx: put(tx, "inner:s"))
        put(tx, "late:s")

    store.write(step)

    assert "late:s" in registered(store)
    assert "inner:s" not in registered(store)
