"""Pruning: old finished messages are deleted, unfinished ones stay, and the file shrinks."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from raven import BusClient, MessageNotFoundError
from raven.store.database import Store
from tests.support import Foreign

pytestmark = pytest.mark.both_ways

Connect = Callable[..., BusClient]


def prune(bus: BusClient, older_than_s: float = 0, **options: Any) -> Any:
    """Prune messages of any age, however long they are finished, unless the options say otherwise."""
    return bus.prune(older_than_s, **{"grace_s": 0, **options})


def ids(foreign: Foreign, table: str = "messages") -> list[int]:
    shift = " >> 20" if table == "deliveries" else ""
    return [row[0] for row in foreign.execute(f"SELECT DISTINCT id{shift} FROM {table} ORDER BY id")]


def test_a_message_finished_by_all_recipients_is_deleted_with_its_deliveries(
    connect: Connect, foreign: Foreign
) -> None:
    a, b = connect("a:s"), connect("b:s")
    for _ in range(3):
        a.send(["a:s", "b:s"], "note", "x")
    for number in (1, 2, 3):
        a.ack(number)
    b.ack(1)

    done = prune(a)

    assert done.messages == 1
    assert ids(foreign) == ids(foreign, "deliveries") == [2, 3]
    with pytest.raises(MessageNotFoundError, match="it was never sent, or it was pruned"):
        a.read(1)


def test_the_newest_message_stays_so_that_no_id_is_used_twice(connect: Connect, foreign: Foreign) -> None:
    bus = connect("worker:s")
    for message in bus.send_many([{"to": "worker:s", "type": "note"}] * 3):
        bus.ack(message.id)

    assert prune(bus).messages == 2
    assert ids(foreign) == [3]
    assert bus.send("worker:s", "note").id == 4


def test_an_expired_message_is_deleted_even_before_it_is_marked(connect: Connect, foreign: Foreign) -> None:
    bus = connect("worker:s")
    bus.send("worker:s", "note", expires_in_s=0.000001)
    bus.send("worker:s", "note", expires_in_s=1000)
    bus.send("worker:s", "note")

    prune(bus)

    assert ids(foreign) == [2, 3]


def test_a_message_without_recipients_goes(connect: Connect, foreign: Foreign) -> None:
    bus = connect("worker:s")
    bus.send("*:s", "note")
    bus.send("worker:s", "note")

    prune(bus)

    assert ids(foreign) == [2]


def test_only_messages_older_than_the_span_are_deleted(connect: Connect, foreign: Foreign) -> None:
    bus = connect("worker:s")
    for message in bus.send_many([{"to": "worker:s", "type": "note"}] * 3):
        bus.ack(message.id)
    foreign.execute("UPDATE messages SET created_at = created_at - 3600000000 WHERE id = 1")

    assert prune(bus, older_than_s=4000).messages == 0
    assert prune(bus, older_than_s=3000).messages == 1
    assert ids(foreign) == [2, 3]


def test_a_dry_run_counts_the_same_and_deletes_nothing(connect: Connect, foreign: Foreign) -> None:
    bus = connect("worker:s")
    for message in bus.send_many([{"to": "worker:s", "type": "note", "body": "x" * 98}] * 3):
        bus.ack(message.id)

    dry = prune(bus, dry_run=True)
    assert ids(foreign) == [1, 2, 3]

    calls: list[Any] = []
    assert prune(bus, progress=calls.append) == dry == calls[-1]
    assert (dry.messages, dry.bytes, dry.candidates) == (2, 200, 2)


@pytest.mark.file_only
def test_many_go_in_bites_with_progress_and_the_file_shrinks(db: str, connect: Connect, foreign: Foreign) -> None:
    bus = connect("worker:s")
    bus.send_many([{"to": "worker:s", "type": "note", "body": "x" * 4000}] * 1200)
    foreign.execute("UPDATE deliveries SET state = 2")
    bus._store.truncate_wal()
    before = os.stat(db).st_size

    progress: list[Any] = []
    done = bus.prune(0, grace_s=0, progress=progress.append)

    assert [step.messages for step in progress] == [500, 1000, 1199]
    assert done == progress[-1]
    assert {step.candidates for step in progress} == {1199}
    assert os.stat(db).st_size < before / 10
    assert os.stat(f"{db}-wal").st_size == 0
    assert Store(db).pragma("integrity_check") == "ok"


def interrupt(_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.file_only
def test_a_prune_that_ends_after_a_bite_has_kept_that_bite(connect: Connect, foreign: Foreign) -> None:
    bus = connect("worker:s")
    bus.send_many([{"to": "worker:s", "type": "note"}] * 1200)
    foreign.execute("UPDATE deliveries SET state = 2")

    with pytest.raises(KeyboardInterrupt):
        bus.prune(0, grace_s=0, progress=interrupt)

    assert foreign.value("SELECT count(*) FROM messages") == 700
    assert foreign.value("SELECT count(*) FROM deliveries") == 700


def test_an_empty_bus_can_be_pruned(connect: Connect) -> None:
    assert prune(connect("worker:s")).messages == 0
