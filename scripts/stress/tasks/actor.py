"""Actor: the calls that tasks and threads have in common, each checked against the rules of transactions."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from itertools import count
from typing import Any, TypeVar

from raven import BusClient, InputError, Message, MessageNotFoundError, RavenError
from scripts.stress.report import Report
from scripts.stress.tasks.ledger import Block, Ledger

ADDRESSES = ("worker-0:s", "worker-1:s", "worker-2:s")
_NO_ID = 1 << 40
_LEASE_S = 300.0
_MAX_PAUSE_S = 0.004
_T = TypeVar("_T")


class UndoneError(Exception):
    """A call was refused, or a block shall be rolled back."""


class Actor:
    """One task or thread that makes random calls on the clients of its process."""

    _tokens = count()

    def __init__(self, buses: list[BusClient], oracle: str, ledger: Ledger, report: Report, seed: int) -> None:
        self.buses = buses
        self.oracle = oracle
        self.ledger = ledger
        self.report = report
        self.random = random.Random(seed)

    def another(self) -> tuple[list[BusClient], str, Ledger, Report, int]:
        """Return the arguments of another actor of this process."""
        return self.buses, self.oracle, self.ledger, self.report, self.random.getrandbits(32)

    def a_bus(self) -> BusClient:
        return self.random.choice(self.buses)

    def token(self) -> str:
        return f"{self.oracle}-{next(self._tokens)}"

    def pause_s(self) -> float:
        return self.random.uniform(0, _MAX_PAUSE_S)

    def call(self, bus: BusClient, what: str, step: Callable[[], _T]) -> _T:
        """Make a call that writes; raises UndoneError if it was refused, and reports a wrong refusal."""
        if self.ledger.would_stall(bus):
            raise UndoneError
        must_refuse = self.ledger.must_refuse(bus)
        try:
            result = step()
        except InputError as error:
            self.report.expect(must_refuse, f"{what} was refused: {error}")
            self.report.count("calls refused beside another task")
            raise UndoneError from None
        except RavenError as error:
            self.report.report("broken", f"{what} raised {error!r}")
            raise UndoneError from None
        # A claim that finds no message does not write.
        self.report.expect(not must_refuse or result == [], f"{what} was not refused beside another task's transaction")
        return result

    def send(self, bus: BusClient, block: Block | None = None) -> None:
        """Send one message; outside a block it can be read at once."""
        token = self.token()
        self.ledger.sent[token] = 0
        # A write through the client is part of the block, too.
        target = bus if block is None or self.random.random() < 0.2 else block.tx
        to = self.random.choice(ADDRESSES)
        sent = self.call(bus, "send", lambda: target.send(to, "note", {"token": token}))
        if block is not None:
            block.sent[token] = sent.id
            return
        self.ledger.sent[token] = sent.id
        self.report.count("sends")
        try:
            is_stored = bus.read(sent.id).body == {"token": token}
        except RavenError:
            is_stored = False
        if not is_stored:
            self.report.report("lost", f"a send returned #{sent.id}, and the bus has not stored it")

    def claim(self, bus: BusClient, block: Block | None = None) -> None:
        """Claim messages, and ack, nack or keep each."""
        target = bus if block is None else block.tx
        remember = self.random.random() < 0.5
        for message in self.call(bus, "claim", lambda: target.claim(2, _LEASE_S, remember=remember)):
            self.report.count("messages claimed")
            if block is None:
                self.ledger.received.append(message.id)
            self.finish(bus, message, block)

    def finish(self, bus: BusClient, message: Message, block: Block | None = None) -> None:
        """Ack, nack or keep a message."""
        target = bus if block is None else block.tx
        chance = self.random.random()
        if chance < 0.7:
            self.call(bus, "ack", lambda: target.ack(message.id, lease=message.lease))
            results = self.ledger if block is None else block
            results.finished.append((bus.address, message.id))
        elif chance < 0.9:
            self.call(bus, "nack", lambda: target.nack(message.id, lease=message.lease))

    def receive(self, bus: BusClient, message: Message, *, is_acked: bool) -> None:
        """Record a message that a loop yielded, and finish it unless it is acked."""
        self.report.count("messages of loops")
        self.ledger.received.append(message.id)
        if is_acked:
            self.ledger.finished.append((bus.address, message.id))
        else:
            self.finish(bus, message)

    @contextmanager
    def block(self, bus: BusClient, outer: Block | None = None) -> Iterator[Block]:
        """Begin a transaction, and record its end; raises UndoneError if it was refused."""
        if self.ledger.would_stall(bus):
            raise UndoneError
        must_refuse = self.ledger.must_refuse(bus)
        block = Block(bus, bus.transaction() if outer is None else outer.tx.transaction())
        is_kept = False
        self.ledger.blocks.append(block)
        try:
            with block.tx:
                block.is_entered = True
                self.report.expect(not must_refuse, "a transaction began beside another task's")
                yield block
            is_kept = True
            self.report.count("transactions committed" if outer is None else "nested transactions")
        except RavenError as error:
            is_refusal = isinstance(error, InputError) and must_refuse and not block.is_entered
            self.report.expect(is_refusal, f"a transaction raised {error!r}")
            raise UndoneError from None
        finally:
            self.ledger.blocks.remove(block)
            self.ledger.settle(block, outer, is_kept=is_kept)
            if not is_kept:
                self.report.count("transactions rolled back or refused")

    def steps(self, block: Block, depth: int = 0) -> Generator[float, None, None]:
        """Make random calls in a block, and yield a pause in seconds after each; it may end with an UndoneError."""
        bus = block.bus
        for _ in range(self.random.randint(1, 4)):
            chance = self.random.random()
            if chance < 0.5:
                self.send(bus, block)
            elif chance < 0.7:
                self.claim(bus, block)
            elif chance < 0.8:
                with suppress(MessageNotFoundError):
                    block.tx.ack(_NO_ID)
                    self.report.report("broken", "a message that does not exist was acked")
            elif chance < 0.85:
                self._expect_refusal("a loop waited in a transaction", lambda: next(iter(bus.listen(timeout_s=0))))
            elif depth < 2:
                with (
                    suppress(UndoneError),
                    self.block(bus, block) as inner,
                    closing(self.steps(inner, depth + 1)) as to_do,
                ):
                    yield from to_do
            yield self.pause_s()
        if self.random.random() < 0.25:
            raise UndoneError

    def _expect_refusal(self, what: str, step: Callable[[], Any]) -> None:
        try:
            step()
        except InputError:
            self.report.count("waits refused in a transaction")
        else:
            self.report.report("broken", what)
