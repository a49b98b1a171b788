"""Operations: all calls of a client on a bus file, for a trial in which the disk fails."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import apsw

from raven import BusClient, DatabaseError, WaitTimeoutError
from raven.store.migrations import APPLICATION_ID
from raven.store.sql import migrations_after

ADDRESS = "worker:s"
_READY = 5
_FINISHED = 12
_LARGE = "x" * 100_000
_MORE_THAN_THE_CACHE = 3_000_000
_LIMITS = {"max_messages": 3, "grace_s": 0}


class Operation(NamedTuple):
    """A call of a client, and its preparation; `run` gets the client and the result of `prepare`.

    With `undoes` a failed call has changed nothing; with `does` a call that returned is complete. Otherwise this holds
    for each of its steps. Without `client` the call opens the file itself: `run` gets the path, and returns a client.
    """

    name: str
    run: Callable[[Any, Any], Any]
    prepare: Callable[[BusClient], Any] = lambda bus: None
    undoes: bool = True
    does: bool = True
    client: bool = True
    template: str = "used"
    options: tuple[tuple[str, Any], ...] = ()


def make_used(path: str) -> None:
    """Create a bus with messages in every state."""
    with BusClient.at(ADDRESS, path) as bus, BusClient.at("boss:s", path) as boss, BusClient.at("done:s", path) as done:
        bus.execute("CREATE TABLE results (id INTEGER PRIMARY KEY, text TEXT)")
        boss.send_many([{"to": "done:s", "type": "old", "body": number} for number in range(_FINISHED)])
        boss.send("done:s", "old", _LARGE)
        for message in done.claim(max=100):
            done.ack(message.id)
        boss.send(ADDRESS, "doomed", max_attempts=1)
        for message in bus.claim():
            bus.nack(message.id, reason="for the trial")
        boss.send_many([{"to": ADDRESS, "type": "job", "body": number} for number in range(_READY)])


def make_old(path: str) -> None:
    """Create a bus with the first schema."""
    connection = apsw.Connection(path)
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL").fetchall()
    connection.execute(f"BEGIN; {migrations_after(0)[0]}; COMMIT").fetchall()
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1")
    connection.close()


def _transact(bus: BusClient, claimed: list[Any]) -> None:
    with bus.transaction() as tx:
        tx.ack(claimed[0].id)
        tx.send("boss:s", "done", "y" * 20_000)
        tx.execute("INSERT INTO results VALUES (?, ?)", (claimed[0].id, "fine"))


def _transact_on(bus: BusClient, claimed: list[Any]) -> None:
    """Go on after each error in the transaction: the commit must have all steps without an error, or nothing.

    It writes more than SQLite's cache, so that the disk can also fail before the commit.
    """
    steps = (
        lambda: bus.send("boss:s", "done", "y" * 20_000),
        lambda: bus.execute("INSERT INTO results (text) VALUES (zeroblob(?))", (_MORE_THAN_THE_CACHE,)),
        lambda: bus.ack(claimed[0].id),
    )
    with bus.transaction():
        for step in steps:
            with suppress(DatabaseError):
                step()


def _request(bus: BusClient, _: Any) -> None:
    with suppress(WaitTimeoutError):
        bus.request("boss:s", "question", timeout_s=0.02)


def _listen(bus: BusClient, received: list[int]) -> list[int]:
    for message in bus.listen(timeout_s=0.001):
        received.append(message.id)
        if len(received) % _READY == 0:
            break
    return received


def _listen_manually(bus: BusClient, received: list[int]) -> list[int]:
    for message in bus.listen(ack="manual", timeout_s=0.001):
        bus.ack(message.id)
        received.append(message.id)
        if len(received) % _READY == 0:
            break
    return received


def _send_in_halves(bus: BusClient, _: Any) -> None:
    bus.send(ADDRESS, "note", "the first half")
    bus.send(ADDRESS, "note", "the second half")


def _read_all(bus: BusClient, _: Any) -> None:
    bus.stats()
    bus.peers()
    bus.history(task_id="none")
    bus.inbox(peek=True)
    list(bus.tail(follow=False))


def _claimed(bus: BusClient) -> list[Any]:
    return bus.claim(max=3)


def _write_much(bus: BusClient) -> None:
    bus.execute("INSERT INTO results (text) SELECT hex(zeroblob(2000)) FROM json_each('[1,2,3,4,5,6,7,8]')")
    bus.execute("DELETE FROM results")


OPERATIONS = (
    Operation("send", lambda bus, _: bus.send(ADDRESS, "note", {"step": 1})),
    Operation("send a large one", lambda bus, _: bus.send(ADDRESS, "note", _LARGE)),
    Operation("send to all", lambda bus, _: bus.send("*:s", "note")),
    Operation(
        "send_many", lambda bus, _: bus.send_many([{"to": ADDRESS, "type": "n", "body": "z" * 900} for _ in range(20)])
    ),
    Operation("claim", lambda bus, _: bus.claim(max=3)),
    Operation("ack", lambda bus, claimed: bus.ack(claimed[0].id), _claimed),
    Operation("nack", lambda bus, claimed: bus.nack(claimed[0].id, 5, "later"), _claimed),
    Operation("extend", lambda bus, claimed: bus.extend(claimed[0].id, 60), _claimed),
    Operation("reply", lambda bus, claimed: bus.reply(claimed[0], "answer", 1), _claimed),
    Operation("transaction", _transact, _claimed),
    Operation("transaction after errors", _transact_on, _claimed, does=False),
    Operation("execute", lambda bus, _: bus.execute("INSERT INTO results (text) VALUES (?)", (_LARGE,))),
    Operation("register", lambda bus, _: bus.register("new:s", "newer:s")),
    Operation("requeue", lambda bus, _: bus.requeue(all=True), undoes=False, does=False),
    Operation("purge", lambda bus, _: bus.purge_dead(), undoes=False, does=False),
    Operation("inbox", lambda bus, _: bus.inbox(), does=False),
    Operation("request", _request, undoes=False, does=False),
    Operation("listen", _listen, lambda bus: [], undoes=False, does=False),
    Operation("listen manually", _listen_manually, lambda bus: [], undoes=False, does=False),
    Operation(
        "upkeep", lambda bus, _: bus.run_maintenance(), undoes=False, does=False, options=(("retention", _LIMITS),)
    ),
    Operation(
        "send with retention",
        lambda bus, _: bus.send(ADDRESS, "note"),
        does=False,
        options=(("retention", _LIMITS),),
    ),
    Operation("prune", lambda bus, _: bus.prune(0, grace_s=0), _write_much, undoes=False, does=False),
    Operation("checkpoint", lambda bus, _: bus.checkpoint(), _write_much, does=False),
    Operation("read all", _read_all, does=False),
    Operation("close", lambda bus, _: bus.close(), _write_much, does=False),
    Operation("open", lambda path, _: BusClient.at(ADDRESS, path), undoes=False, does=False, client=False),
    Operation("make", lambda path, _: BusClient.at(ADDRESS, path), undoes=False, does=False, client=False, template=""),
    Operation(
        "migrate", lambda path, _: BusClient.at(ADDRESS, path), undoes=False, does=False, client=False, template="old"
    ),
)

# An operation that breaks its promise, which the trial must find.
BROKEN = (Operation("send in halves", _send_in_halves),)
