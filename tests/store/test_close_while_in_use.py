"""A client closed while its threads work: each thread gets a ClosedError, and every call that returned is committed."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable

import pytest

from raven import BusClient, ClosedError
from raven.store.database import Store
from raven.store.transaction import Transaction
from tests.stores import put, registered
from tests.support import DEADLINE_S, bells, wait_until

Connect = Callable[..., BusClient]


@pytest.mark.parametrize("seed", range(4))
def test_closing_a_client_ends_its_threads_with_a_closed_error(db: str, connect: Connect, seed: int) -> None:
    bus, boss = connect("worker:s", busy_timeout_s=20), connect("boss:s", busy_timeout_s=20)
    sent: list[int] = []
    acked: list[int] = []
    received: list[int] = []
    rows: list[int] = []
    ends: dict[str, BaseException | None] = {}
    boss.execute("CREATE TABLE notes (message INTEGER)")

    def send() -> None:
        while True:
            sent.append(bus.send("other:s", "note").id)

    def work() -> None:
        while True:
            boss.send("worker:s", "job")
            for message in bus.claim(max=2):
                bus.ack(message.id)
                acked.append(message.id)

    def write() -> None:
        while True:
            with bus.transaction() as tx:
                id = tx.send("third:s", "note").id
                tx.execute("INSERT INTO notes VALUES (?)", (id,))
            rows.append(id)

    def listen() -> None:
        # A loop ends without an error.
        received.extend(message.id for message in bus.listen())

    def subscribe() -> None:
        async def run() -> None:
            received.extend([message.id async for message in bus.subscribe()])

        asyncio.run(run())

    def ask() -> None:
        bus.request("unread:s", "question", timeout_s=60)

    def play(part: Callable[[], None]) -> None:
        try:
            part()
        except BaseException as error:
            ends[part.__name__] = error

    threads = [
        threading.Thread(target=play, args=(part,), daemon=True) for part in (send, work, write, listen, subscribe, ask)
    ]
    for thread in threads:
        thread.start()
    enough = random.Random(seed).randrange(5, 60)
    wait_until(lambda: len(sent) >= enough and rows, "the threads at work")

    bus.close()
    for thread in threads:
        thread.join(DEADLINE_S)

    assert not [thread for thread in threads if thread.is_alive()]
    assert {name: type(error) for name, error in ends.items()} == dict.fromkeys(
        ("send", "work", "write", "ask"), ClosedError
    )
    assert {message.id for message in connect("other:s").inbox(max=10_000)} >= set(sent)
    stored = [row[0] for row in boss.execute("SELECT message FROM notes")]
    assert stored == [message.id for message in connect("third:s").inbox(max=10_000)]
    assert set(rows) <= set(stored)
    assert all(boss.receipts(id)[0].state == "acked" for id in {*acked, *received})
    assert bells(db) == []


def test_a_store_closed_within_a_write_closes_after_the_commit(db: str, store: Store) -> None:
    def step(tx: Transaction) -> None:
        put(tx, "late:s")
        store.close()

    store.write(step)

    with pytest.raises(ClosedError):
        registered(store)
    other = Store(db)
    assert "late:s" in registered(other)
    other.close()
