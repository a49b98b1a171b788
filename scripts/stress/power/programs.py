"""Programs: short uses of a bus, during which the power is cut."""

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
from scripts.stress.power.client import FileStepClient, StepClient
from scripts.stress.power.expectations import Expectations

_BOSS, _WORKER = "boss:s", "worker:s"
_PARTNERS = {_BOSS: _WORKER, _WORKER: _BOSS}
# Rows of the first released schema.
_OLD_MAIL = """
INSERT INTO messages (id, sender, "to", type, body, created_at) VALUES (1, 'boss:s', 'worker:s', 'job', '{"n":900}', 5);
INSERT INTO messages (id, sender, "to", type, body, created_at) VALUES (2, 'boss:s', 'worker:s', 'job', '{"n":901}', 6);
INSERT INTO deliveries (id, recipient, urgency, state, finished_at) VALUES (1 << 20, 'worker:s', 1, 2, 7);
INSERT INTO deliveries (id, recipient, urgency, state, attempts) VALUES (2 << 20, 'worker:s', 1, 1, 4);
"""


class _UndoneError(Exception):
    """Ends a transaction without a commit."""


class ProgramContext(NamedTuple):
    """The file of a program, and the settings of its clients."""

    db: Path
    expectations: Expectations
    rng: random.Random
    durability: Durability
    numbers: count[int]

    @contextmanager
    def open_client(
        self, address: str, durability: Durability | None = None, **options: Any
    ) -> Iterator[FileStepClient]:
        """Open a client, and close it at the end."""
        durability = self.durability if durability is None else durability
        durable = durability == "full"
        with self.expectations.step([], durable=durable):
            bus = HostedBus.at(address, str(self.db), durability=durability, **options)
        with bus:
            yield FileStepClient(bus, _PARTNERS[address], self.expectations, self.rng, self.numbers, durable=durable)


class Program(NamedTuple):
    """A program, and its preparation, before which the power cannot fail.

    The power is cut at `moments` moments near syncs and returns, and at as many others; with 0, at every moment.
    """

    run: Callable[[ProgramContext], None]
    prepare: Callable[[ProgramContext], None] | None = None
    moments: int = 25
    threads: int = 1


def create(context: ProgramContext) -> None:
    """Create the file, use it a little, and close it; then open it once more."""
    with context.open_client(_BOSS) as boss:
        boss.send()
    with context.open_client(_WORKER) as worker:
        worker.ack()
        worker.send_many()


def work(context: ProgramContext) -> None:
    """Two clients send, claim, ack and commit transactions; a reader sometimes prevents a checkpoint."""
    with (
        context.open_client(_BOSS) as boss,
        context.open_client(_WORKER) as worker,
        closing(_reader(context.db)) as reader,
    ):
        for _ in range(50):
            client = context.rng.choice((boss, worker))
            context.rng.choice(
                (
                    client.send,
                    client.send,
                    client.send_many,
                    client.ack,
                    client.listen,
                    client.nack,
                    client.transact,
                    client.work,
                )
            )()
            if context.rng.random() < 0.15:
                reader.execute("COMMIT" if reader.in_transaction else "BEGIN; SELECT count(*) FROM messages").fetchall()


def upkeep(context: ProgramContext) -> None:
    """Let the file grow, and vacuum it."""
    with (
        context.open_client(_BOSS, retention={"max_messages": 6, "grace_s": 0}) as boss,
        context.open_client(_WORKER) as worker,
    ):
        for _ in range(5):
            for _ in range(context.rng.randint(1, 3)):
                boss.send_many()
            for _ in range(4):
                worker.ack()
            context.rng.choice((boss.upkeep, worker.prune))()
            boss.send()


def spill(context: ProgramContext) -> None:
    """Send so much at once that SQLite writes to the WAL before the commit, and roll some of it back."""
    with context.open_client(_BOSS) as boss:
        for length in (300, 70_000, 300):
            boss.send_many(40, length)
            with suppress(_UndoneError), boss.bus.transaction() as tx:
                tx.send_many([{"to": _WORKER, "type": "note", "body": "x" * length}] * 40)
                raise _UndoneError


def upgrade(context: ProgramContext) -> None:
    """Open a file of the first schema, and use it."""
    with context.open_client(_WORKER) as worker:
        worker.send()
        worker.ack()
    with context.open_client(_BOSS) as boss:
        boss.transact()


def make_old_file(context: ProgramContext) -> None:
    """Create a file as the first schema wrote it."""
    with closing(apsw.Connection(str(context.db))) as connection:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL").fetchall()
        connection.execute(f"BEGIN; {migrations_after(0)[0]}; {_OLD_MAIL}; COMMIT").fetchall()
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1")
    context.expectations.add_old(["sent:900", "acked:900", "sent:901"])


def concurrent(context: ProgramContext) -> None:
    """Several threads work at once, each with a connection of its own, and with different durabilities."""

    def run_client(address: str, durability: Durability, rng: random.Random) -> None:
        with context._replace(rng=rng).open_client(address, durability) as client:
            for _ in range(8):
                rng.choice((client.send, client.send_many, client.ack, client.nack, client.transact, client.work))()

    parts = (_BOSS, context.durability), (_WORKER, context.durability), (_WORKER, "normal")
    _at_once([partial(run_client, *part, random.Random(context.rng.random())) for part in parts])


def server(context: ProgramContext) -> None:
    """Serve the bus at a socket to several clients at once, so that one commit has the writes of several."""
    from raven_rpc import Client

    durable = context.durability == "full"

    def run_client(path: str, address: str, rng: random.Random) -> None:
        with Client(path, address=address) as bus:
            client = StepClient(bus, _PARTNERS[address], context.expectations, rng, context.numbers, durable=durable)
            for _ in range(8):
                rng.choice((client.send, client.send, client.send_many, client.ack, client.nack, client.transact))()

    with _serving(context) as path:
        parts = [(path, address, random.Random(context.rng.random())) for address in (_BOSS, _BOSS, _WORKER)]
        _at_once([partial(run_client, *part) for part in parts])


PROGRAMS = {
    "create": Program(create, moments=0),
    "work": Program(work),
    "upkeep": Program(upkeep),
    "spill": Program(spill, moments=16),
    "upgrade": Program(upgrade, make_old_file, moments=0),
    "concurrent": Program(concurrent, threads=3),
    "server": Program(server, threads=3),
}


def _reader(db: Path) -> apsw.Connection:
    return apsw.Connection(str(db), flags=apsw.SQLITE_OPEN_READWRITE)


def _at_once(parts: Sequence[Callable[[], None]]) -> None:
    with ThreadPoolExecutor(len(parts)) as pool:
        for future in [pool.submit(part) for part in parts]:
            future.result()


@contextmanager
def _serving(context: ProgramContext) -> Iterator[str]:
    from raven_rpc import Server

    path = f"{context.db}.sock"
    server = Server(str(context.db), path, durability=context.durability)
    is_ready = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(server.run(lambda _: is_ready.set())))
    thread.start()
    try:
        if not is_ready.wait(20):
            raise TimeoutError("the server is not ready")
        yield path
    finally:
        server.loop.call_soon_threadsafe(server.stop)
        thread.join()
