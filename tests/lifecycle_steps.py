"""Steps of the life cycle: clients run each on a bus file and on a plain model, and compare the results."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Generator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

import apsw
import pytest

from raven import BusClient, Message, RavenError
from raven.host.bus import HostedBus
from raven.model import clock
from raven.model.message import STATES, URGENCIES
from raven.receive.manual_ack import ManualAckConsumer
from raven.receive.subscription import PullSubscription
from raven.store.atomic import Atomic
from tests.frozen_clock import Clock, elected
from tests.lifecycle_model import OWN_WORDS, REPORT, Bus, Delivery, Refused

WORKER, OTHER, BOSS = "worker:s", "other:s", "boss:s"
# Two consumers of one address, one of another, and the sender.
CLIENTS = {"quick": WORKER, "slow": WORKER, "other": OTHER, "boss": BOSS}


class Undone(Exception):  # noqa: N818 it is meant
    """The exception that rolls a transaction back."""


@dataclass
class Loop:
    """A manual loop, paused at its yield or before its first message."""

    messages: Generator[Message]
    most: int
    token: int | None = None


@dataclass
class Held:
    """A subscription with the token of its lease."""

    subscription: PullSubscription
    ack: str
    token: int
    lease_s: int


@dataclass
class Actor:
    """A client with its expected memory: its leases, and the leases that it knows to be lost."""

    bus: HostedBus
    leases: dict[int, int] = field(default_factory=dict)
    lost: set[int] = field(default_factory=set)
    finished: list[tuple[int, int | None]] = field(default_factory=list)
    subscriptions: list[Held] = field(default_factory=list)
    loops: list[Loop] = field(default_factory=list)
    was_filled: bool = False

    @property
    def address(self) -> str:
        return self.bus.address

    def remember(self, messages: list[Message]) -> None:
        for message in messages:
            assert message.lease
            self.leases[message.id] = message.lease
            self.lost.discard(message.id)

    def forget_finished(self) -> None:
        """Forget leases whose end is committed, unless the message was claimed again since."""
        for id, lease in self.finished:
            if self.leases.get(id) == lease:
                self.leases.pop(id, None)
                self.lost.discard(id)
        self.finished.clear()

    def stop(self) -> None:
        """End the client's loops and subscriptions; after a crash this releases no lease."""
        for held in self.subscriptions:
            held.subscription.close()
        for loop in self.loops:
            loop.messages.close()

    def holds(self, token: int | None) -> set[int]:
        return {id for id, lease in self.leases.items() if lease == token and id not in self.lost}


class Steps:
    """A bus file and its model, their common clock, and clients that run the same calls on both."""

    def __init__(self) -> None:
        super().__init__()
        self.open = ExitStack()
        self.clock = Clock()
        self.open.enter_context(pytest.MonkeyPatch.context()).setattr(clock, "now", self.clock.now)
        self.db = db = os.path.join(self.open.enter_context(tempfile.TemporaryDirectory()), "bus.db")
        self.model = Bus(self.clock.now, self.book_reports)
        self.actors: dict[str, Actor] = {}
        self.handed_out: list[tuple[int, int]] = []
        for name in CLIENTS:
            self.connect(name)
        self.probes = [BusClient.at(address, db, register=False) for address in (WORKER, OTHER, BOSS)]
        self.file = apsw.Connection(db)
        self.read: Callable[..., Any] = self.file.execute  # inside a transaction, on its client's connection
        self.open.enter_context(elected(db))

    def connect(self, name: str) -> None:
        self.actors[name] = Actor(HostedBus.at(CLIENTS[name], self.db))
        self.boss = self.actors.get("boss", self.actors[name]).bus

    def close(self) -> None:
        for actor in self.actors.values():
            actor.stop()
            actor.bus.close()
        for probe in self.probes:
            probe.close()
        self.file.close()
        self.open.close()

    # The calls of one client, in a transaction or outside.

    def agree(self, model: Callable[[], Any], raven: Callable[[], Any]) -> str | None:
        """Run the same call on both; returns the name of the error of both, or None."""
        try:
            result, error = raven(), None
        except RavenError as raised:
            result, error = None, type(raised).__name__
        try:
            expected, refused = model(), None
        except Refused as refusal:
            expected, refused = None, str(refusal)
        assert (result, error) == (expected, refused)
        return error

    def some_id(self, number: int, *wanted: Callable[[Delivery], bool]) -> int:
        """Return an id from the newest of the first matching filter; sometimes any id, or an unused one."""
        for is_wanted in (*wanted[number // 8 * 2 :], lambda _: True):
            ids = sorted({one.id for one in self.model.deliveries.values() if is_wanted(one)})
            if ids and number < 9:
                return ids[-1 - number % len(ids)]
        return self.model.newest + 1

    def some_id_of(self, actor: Actor, number: int) -> int:
        """Return the id of one of the client's own messages: a claimed one, else an open one."""
        return self.some_id(
            number,
            lambda one: one.recipient == actor.address and one.is_open and one.id in actor.leases,
            lambda one: one.recipient == actor.address and one.is_open,
            lambda one: one.recipient == actor.address,
        )

    def some_subscription(self, number: int, ack: str | None = None) -> tuple[Actor, Held]:
        every = [(actor, held) for actor in self.actors.values() for held in actor.subscriptions]
        holding = {one.lease for one in self.model.deliveries.values() if one.is_open}
        wanted = [one for one in every if one[1].ack == ack and one[1].token in holding] or every
        return wanted[number % len(wanted)]

    def some_loop(self, number: int) -> tuple[Actor, Loop]:
        every = [(actor, loop) for actor in self.actors.values() for loop in actor.loops]
        return every[number % len(every)]

    def do_send(self, actor: Actor, options: dict[str, Any], message: Message) -> None:
        first = self.model.first_of(actor.address, options.get("dedup_key"))
        assert message.duplicate == (first is not None)
        if first is not None:
            assert message.id == first
        else:
            assert message.id > self.model.newest
            to = options["to"]
            self.model.send(message.id, actor.address, [to] if isinstance(to, str) else to, **options)

    def do_claim(self, actor: Actor, max: int, lease_s: int) -> None:
        messages = actor.bus.claim(max, lease_s)
        token = messages[0].lease if messages else 0
        expected = self.model.claim(actor.address, max, token or 0, lease_s, again=actor.was_filled)
        assert [m.id for m in messages] == expected
        actor.was_filled = len(messages) == max
        self.check_messages(actor, messages)
        actor.remember(messages)

    def check_messages(self, actor: Actor, messages: list[Message]) -> None:
        for message in messages:
            one = self.model.deliveries[message.id, actor.address]
            assert (message.state, message.attempts) == (one.state, one.attempts)
            assert message.lease in (None, one.lease)
            if message.lease is not None:
                self.handed_out.append((message.id, message.lease))

    def finish(self, actor: Actor, id: int, lease: int | None, error: str | None) -> None:
        if error is None:
            actor.finished.append((id, actor.leases.get(id)))
            if self.read == self.file.execute:
                actor.forget_finished()
        elif error == "LeaseLostError" and lease in (None, actor.leases.get(id)):
            actor.lost.add(id)

    def do_ack(self, actor: Actor, id: int, lease: int | None) -> None:
        its = lease or actor.leases.get(id)
        error = self.agree(lambda: self.model.ack(id, actor.address, its), lambda: actor.bus.ack(id, lease=lease))
        self.finish(actor, id, lease, error)

    def do_nack(self, actor: Actor, id: int, lease: int | None, delay_s: int, reason: str | None) -> None:
        its = lease or actor.leases.get(id)
        error = self.agree(
            lambda: self.model.nack(id, actor.address, its, delay_s, reason),
            lambda: actor.bus.nack(id, delay_s, reason, lease=lease),
        )
        self.finish(actor, id, lease, error)

    def do_extend(self, actor: Actor, id: int, lease: int | None, lease_s: int) -> None:
        its = lease or actor.leases.get(id)
        error = self.agree(
            lambda: self.model.extend(id, actor.address, its, lease_s),
            lambda: actor.bus.extend(id, lease_s, lease=lease),
        )
        if error == "LeaseLostError" and lease in (None, actor.leases.get(id)):
            actor.lost.add(id)

    def kill(self, actor: Actor, midway: bool) -> None:
        """Do to the file what the end of a process does: SQLite rolls an open transaction back."""
        store = actor.bus._store
        if midway:
            atomic = Atomic(store)
            atomic.__enter__()
            actor.bus.claim(2)
            actor.bus.send(OTHER, "never sent")
            del atomic
        store.close()
        for consumer in actor.bus._consumers:  # their threads die too
            if isinstance(consumer, ManualAckConsumer) and consumer._renewer is not None:
                consumer._renewer.stop()
                consumer._has_claimed = False
        actor.stop()

    def step(self, actor: Actor, step: Any) -> None:
        match step:
            case ("send", message):
                self.do_send(actor, message, actor.bus.send(**{"type": "job", **message}))
            case ("claim", most, lease_s):
                self.do_claim(actor, most, lease_s)
            case ("ack", number):
                self.do_ack(actor, self.some_id_of(actor, number), None)
            case ("nack", number, delay_s, reason):
                self.do_nack(actor, self.some_id_of(actor, number), None, delay_s, reason)
            case ("extend", number, lease_s):
                self.do_extend(actor, self.some_id_of(actor, number), None, lease_s)

    # The comparison after each step.

    def book_reports(self) -> None:
        """Copy new reports into the model; they must be the expected ones."""
        reports = []
        new = self.read(
            'SELECT id, sender, "to", type, body, urgency FROM messages WHERE id > ? ORDER BY id', (self.model.newest,)
        )
        for id, sender, to, type, body, urgency in list(new):
            report = json.loads(body)
            one = self.model.messages[report["message_id"]]
            reports.append((report["message_id"], report["recipient"], report["state"]))
            assert (type, sender, to, urgency) == (REPORT, report["recipient"], one.sender, one.urgency)
            assert report["reason"]
            self.model.send(id, sender, [to], urgency=URGENCIES[urgency])
        assert sorted(reports) == sorted(self.model.owed)
        self.model.owed.clear()

    def compare(self) -> None:
        """Compare every delivery, the claimable ids, and each address's inbox, in order."""
        self.book_reports()
        rows = self.file.execute(
            "SELECT message_id, recipient, state, attempts, ready_at, lease, reason, finished_at, delivered_at"
            "  FROM deliveries"
        ).fetchall()
        assert {row[:2] for row in rows} == self.model.deliveries.keys()
        assert {id for (id,) in self.file.execute("SELECT id FROM messages")} == self.model.messages.keys()
        for id, recipient, state, attempts, ready_at, lease, reason, finished_at, delivered_at in rows:
            one = self.model.deliveries[id, recipient]
            assert (STATES[state], attempts, ready_at, lease) == (one.state, one.attempts, one.ready_at, one.lease)
            assert attempts <= one.max_attempts
            assert reason == one.reason or (one.reason == OWN_WORDS and reason.startswith("attempt "))
            assert (finished_at is None) == one.is_open
            assert delivered_at is not None or one.state not in ("delivered", "acked")
        for probe in self.probes:
            seen = [(one.id, one.state) for one in self.model.visible(probe.address)]
            assert [(m.id, m.state) for m in probe.inbox(peek=True)] == seen
            with suppress(Undone), Atomic(probe._store):
                claimed = [m.id for m in probe.claim(100, remember=False)]
                # Without the reports that this claim sends.
                assert [id for id in claimed if id <= self.model.newest] == self.model.claimable(probe.address)
                raise Undone
