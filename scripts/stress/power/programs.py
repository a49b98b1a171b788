"""Programs that have the bus open while their power is to fail, and do little, so that much of it can be tried."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from raven.config import Durability
from raven.host.bus import HostedBus
from raven.store.migrations import APPLICATION_ID
from raven.store.sql import migrations_after
from scripts.stress.power.client import DirectHand, Hand
from scripts.stress.power.expectations import Ledger

_BOSS, _WORKER = "boss:s", "worker:s"
_PARTNERS = {_BOSS: _WORKER, _WORKER: _BOSS}
# As the first released schema had it.
_OLD_MAIL = """
INSERT INTO messages (id, sender, "to", type, body, created_at) VALUES (1, 'boss:s', 'worker:s', 'job', '{"n":900}', 5);
INSERT INTO messages (id, sender, "to", type, body, created_at) VALUES (2, 'boss:s', 'worker:s', 'job', '{"n":901}', 6);
INSERT INTO deliveries (id, recipient, urgency, state, finished_at) VALUES (1 << 20, 'worker:s', 1, 2, 7);
INSERT INTO deliveries (id, recipient, urgency, state, attempts) VALUES (2 << 20, 'worker:s', 1, 1, 4);
"""


class _UndoneError(Exception):
    """Leaves a transaction."""


class Scene(NamedTuple):
    """Where a program runs, and what its clients ask for."""

    db: Path
    ledger: Ledger
    chance: random.Random
    durability: Durability
    numbers: count[int]

    @contextmanager
    def hand(self, address: str, durability: Durability | None = None, **options: Any) -> Iterator[DirectHand]:
        """Open a client, and close it in the end."""
        durability = self.durability if durability is None else durability
        durable = durability == "full"
        with self.ledger.step([], durable=durable):
            bus = HostedBus.at(address, str(self.db), durability=durability, **options)
        with bus:
            yield DirectHand(bus, _PARTNERS[address], self.ledger, self.chance, self.numbers, durable=durable)


class Program(NamedTuple):
    """What is done, and before it, before the power can fail.

    At `moments` chosen from near syncs and returns, and at as many others, the power is cut; where there are none, at
    every moment.
    """

    run: Callable[[Scene], None]
    prepare: Callable[[Scene], None] | None = None
    moments: int = 25
    threads: int = 1


def birth(scene: Scene) -> None:
    """Make the file, use it a little, and close it; then open it once more."""
    with scene.hand(_BOSS) as boss:
        boss.send()
    with scene.hand(_WORKER) as worker:
        worker.ack()
        worker.send_many()


def work(scene: Scene) -> None:
    """Let two clients send, claim, ack and transact, while a reader holds the WAL back now and then."""
    with scene.hand(_BOSS) as boss, scene.hand(_WORKER) as worker, closing(_reader(scene.db)) as reader:
        for _ in range(50):
            hand = scene.chance.choice((boss, worker))
            scene.chance.choice(
                (hand.send, hand.send, hand.send_many, hand.ack, hand.listen, hand.nack, hand.transact, hand.work)
            )()
            if scene.chance.random() < 0.15:
                reader.execute("COMMIT" if reader.in_transaction else "BEGIN; SELECT count(*) FROM messages").fetchall()


def upkeep(scene: Scene) -> None:
    """Let the file grow and be made short again."""
    with (
        scene.hand(_BOSS, retention={"max_messages": 6}) as boss,
        scene.hand(_WORKER) as worker,
    ):
        for _ in range(5):
            for _ in range(scene.chance.randint(1, 3)):
                boss.send_many()
            for _ in range(4):
                worker.ack()
            scene.chance.choice((boss.upkeep, worker.prune))()
            boss.send()


def spill(scene: Scene) -> None:
    """Send so much at once that a transaction goes to the WAL before its end, and undo some of that."""
    with scene.hand(_BOSS) as boss:
        for length in (300, 70_000, 300):
            boss.send_many(40, length)
            with suppress(_UndoneError), boss.bus.transaction() as tx:
                tx.send_many([{"to": _WORKER, "type": "note", "body": "x" * length}] * 40)
                raise _UndoneError


def upgrade(scene: Scene) -> None:
    """Open a file of the first schema, and use it."""
    with scene.hand(_WORKER) as worker:
        worker.send()
        worker.ack()
    with scene.hand(_BOSS) as boss:
        boss.transact()


def make_old_file(scene: Scene) -> None:
    """Make a file as the first schema wrote it."""
    with closing(apsw.Connection(str(scene.db))) as connection:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL").fetchall()
        connection.execute(f"BEGIN; {migrations_after(0)[0]}; {_OLD_MAIL}; COMMIT").fetchall()
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1")
    scene.ledger.keep(["sent:900", "acked:900", "sent:901"])


def crowd(scene: Scene) -> None:
    """Let several threads work at once, each with a connection of its own; not all ask for the same."""

    def take_part(address: str, durability: Durability, chance: random.Random) -> None:
        with scene._replace(chance=chance).hand(address, durability) as hand:
            for _ in range(8):
                chance.choice((hand.send, hand.send_many, hand.ack, hand.nack, hand.transact, hand.work))()

    parts = (_BOSS, scene.durability), (_WORKER, scene.durability), (_WORKER, "normal")
    _at_once([partial(take_part, *part, random.Random(scene.chance.random())) for part in parts])


def helper(scene: Scene) -> None:
    """Serve the bus at a socket, with several clients at once: what is written together is committed together."""
    from raven_rpc import Client

    durable = scene.durability == "full"

    def take_part(path: str, address: str, chance: random.Random) -> None:
        with Client(path, address=address) as bus:
            hand = Hand(bus, _PARTNERS[address], scene.ledger, chance, scene.numbers, durable=durable)
            for _ in range(8):
                chance.choice((hand.send, hand.send, hand.send_many, hand.ack, hand.nack, hand.transact))()

    with _serving(scene) as path:
        parts = [(path, address, random.Random(scene.chance.random())) for address in (_BOSS, _BOSS, _WORKER)]
        _at_once([partial(take_part, *part) for part in parts])


PROGRAMS = {
    "birth": Program(birth, moments=0),
    "work": Program(work),
    "upkeep": Program(upkeep),
    "spill": Program(spill, moments=5),
    "upgrade": Program(upgrade, make_old_file, moments=0),
    "crowd": Program(crowd, threads=3),
    "helper": Program(helper, threads=3),
}


def _reader(db: Path) -> apsw.Connection:
    return apsw.Connection(str(db), flags=apsw.SQLITE_OPEN_READWRITE)


def _at_once(parts: Sequence[Callable[[], None]]) -> None:
    with ThreadPoolExecutor(len(parts)) as pool:
        for future in [pool.submit(part) for part in parts]:
            future.result()


@contextmanager
def _serving(scene: Scene) -> Iterator[str]:
    from raven_rpc import Server

    path = f"{scene.db}.sock"
    server = Server(str(scene.db), path, durability=scene.durability)
    is_ready = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(server.run(lambda _: is_ready.set())))
    thread.start()
    try:
        if not is_ready.wait(20):
            raise TimeoutError("the helper is not ready")
        yield path
    finally:
        server.loop.call_soon_threadsafe(server.stop)
        thread.join()
