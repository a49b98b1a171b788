"""The life cycle of a delivery: on a real file, every event in every state has exactly the result in the table."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple, get_args

import apsw
import pytest

from raven import BusClient, DeliveryError
from raven.delivery import expiry
from raven.host.bus import HostedBus
from raven.model import clock
from raven.model.lifecycle import FINAL, LIFECYCLE, OPEN, Availability, DeliveryState, Event, markdown, next_state
from raven.model.message import HELD_UNTIL, STATES, AckMode
from raven.receive.subscription import PullSubscription
from raven.store.sql import SQL, load_exchange
from tests.frozen_clock import Clock, elected

WORKER = "worker:s"
HOUR_S = 3600
# The lease of another host, and the tag of the frame that gave it a delivery.
HOST, TAG = 99, 7
load_exchange()
DELIVERY_STATES = [
    *(DeliveryState(state, hold) for state, hold in product(OPEN, get_args(Availability))),
    *(DeliveryState(state, None) for state in STATES if state in FINAL),
]
CASES = [
    pytest.param(
        state, event, is_last, id=f"{state.state}-{state.availability}-{event}-{'last' if is_last else 'more'}"
    )
    for state, event, is_last in product(DELIVERY_STATES, get_args(Event), (False, True))
]


class Row(NamedTuple):
    """The columns of a delivery in the file."""

    state: int
    ready_at: int
    lease: int | None
    attempts: int
    max_attempts: int
    delivered_at: int | None
    finished_at: int | None
    reason: str | None


class Delivery:
    """One delivery, its recipient's client, and the subscription that leases it, if any."""

    def __init__(self, boss: BusClient, worker: HostedBus, time: Clock) -> None:
        self.boss, self.worker, self.time = boss, worker, time
        self.holder: PullSubscription | None = None
        self.subscriptions: list[PullSubscription] = []
        self.id = 0

    def row(self) -> Row:
        """Read the delivery."""
        (row,) = self.boss.execute(
            f"SELECT {', '.join(Row._fields)} FROM deliveries WHERE message_id = ? AND recipient = ?",
            (self.id, self.worker.address),
        )
        return Row(*row)

    def make_up(self, assignments: str) -> None:
        """Set columns to values that no single call produces."""
        with apsw.Connection(self.boss.db_path) as connection:
            connection.execute(f"UPDATE deliveries SET {assignments} WHERE id >> 20 = {self.id}")
        connection.close()

    def subscription(self, ack: AckMode) -> PullSubscription:
        self.subscriptions.append(self.worker.pull_subscription(ack=ack, lease_s=60))
        return self.subscriptions[-1]

    def bring_to(self, state: DeliveryState, is_last: bool) -> None:
        """Send it and bring it to a state by public calls; only an unleased last attempt is written by SQL."""
        if state.availability is None:
            self._finish(state)
        elif state.availability in ("leased", "lease_expired"):
            self.send()
            self._lease("manual" if state.state == "delivered" else "prefetch")
        elif state.state == "sent":
            self.send(delay_s=60 if state.availability in ("delayed", "due") else None)
        else:
            self.send()
            self.worker.inbox()
            self.worker.nack(self.id, 60 if state.availability in ("delayed", "due") else 0)
        if state.availability == "held":
            self._run("hold")
        if state.availability in ("due", "lease_expired"):
            self.time.step(HOUR_S)
        if is_last:
            self.make_up("attempts = max(attempts, 1), max_attempts = max(attempts, 1)")

    def send(self, **options: Any) -> None:
        self.id = self.boss.send(self.worker.address, "job", **options).id

    def meet(self, event: Event) -> None:
        """Run one event, without due timers before it; a refused event is a valid result."""
        # A notified subscription fetches ready messages without applying due timers.
        events: dict[Event, Callable[[], object]] = {
            "show": self.worker.inbox,
            "prefetch": lambda: self.subscription("prefetch").fetch(1, notified=True),
            "claim": lambda: self.subscription("manual").fetch(1, notified=True),
            "consume": lambda: (
                self.holder.consume(self.id) if self.holder else self.subscription("auto").fetch(1, notified=True)
            ),
            "ack": lambda: self.worker.ack(self.id),
            "nack": lambda: self.worker.nack(self.id, reason="why not"),
            "nack_delayed": lambda: self.worker.nack(self.id, 60),
            "extend": lambda: self.worker.extend(self.id, 60),
            "release": lambda: self.worker._mailbox.ended_leases.release(self.row().lease or 1),
            "apply_due": lambda: expiry.apply_due(self.boss._store, self.boss._doorbells.ring),
            "expire": self._expire,
            "withdraw": lambda: self._run("withdraw"),
            "requeue": lambda: self._run("requeue"),
            "purge": lambda: self._run("expire_dead"),
            "hold": lambda: self._run("hold"),
            "told": self._tell,
            "returned": lambda: self._run("returned", self._held_there()),
            "give_back_home": lambda: self._run("give_back_home", "frame = 0"),
            "revive": lambda: self._run("revive", "frame = -1"),
            "withdraw_there": lambda: self._run("withdraw_there"),
        }
        with suppress(DeliveryError):
            events[event]()

    def _expire(self) -> None:
        self.make_up(f"expires_at = {self.time.now()}")
        self.boss._store.write(lambda tx: expiry.expire(tx, self.time.now()))

    def _tell(self) -> None:
        """Tell that it is acked at the host that has it, or has let it die."""
        self._run("told", self._held_there())

    def _held_there(self) -> str:
        """Return the assignments after which a dead delivery has died on the other host."""
        return f"lease = {HOST}, frame = {TAG}" if self.row().state == STATES.index("dead") else "frame = frame"

    def _run(self, name: str, assignments: str = "frame = frame") -> None:
        """Run a statement alone, because its method would apply due timers first."""
        self.make_up(assignments)
        now = self.time.now()
        ((created_at,),) = self.boss.execute("SELECT created_at FROM messages WHERE id = ?", (self.id,))
        params = {
            "message_id": self.id, "id": self.id << 20, "delivery_id": self.id << 20, "created_at": created_at,
            "recipient": None if name == "requeue" else WORKER, "now": now, "grace": now, "expires_at": now,
            "is_awaited": True, "lets_go": True, "lease": HOST, "frame": TAG, "state": STATES.index("acked"),
            "attempts": 1, "max_attempts": 1, "delivered_at": now, "finished_at": now, "reason": "it said so",
            "returns": 3, "max": 10,
        }  # fmt: skip
        self.boss._store.write(lambda tx: tx.rows(name, params))  # all rows: some statements return them

    def _lease(self, ack: AckMode) -> None:
        self.holder = self.subscription(ack)
        (message,) = self.holder.fetch(1)
        assert message.id == self.id

    def _finish(self, state: DeliveryState) -> None:
        if state.state == "expired":
            self.send(expires_in_s=1)
            self.time.step(HOUR_S)
            expiry.apply_due(self.boss._store, self.boss._doorbells.ring)
        elif state.state == "dead":
            self.send(max_attempts=1)
            self.worker.claim()
            self.worker.nack(self.id, reason="no good")
        else:
            self.send()
            self.worker.claim()
            self.worker.ack(self.id)


def state_of(row: Row, now: int) -> DeliveryState:
    """Return the state that the columns of the file describe."""
    if STATES[row.state] in FINAL:
        return DeliveryState(STATES[row.state], None)
    is_over = row.ready_at <= now
    if row.ready_at == HELD_UNTIL:
        return DeliveryState(STATES[row.state], "held")
    if row.lease is not None:
        return DeliveryState(STATES[row.state], "lease_expired" if is_over else "leased")
    return DeliveryState(STATES[row.state], "ready" if row.ready_at == 0 else "due" if is_over else "delayed")


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the clock of this process."""
    time = Clock()
    monkeypatch.setattr(clock, "now", time.now)
    return time


@pytest.fixture
def delivery(time: Clock, hosted: Callable[..., HostedBus], db: str) -> Iterator[Delivery]:
    """Return a delivery before its send."""
    one = Delivery(hosted("boss:s"), hosted(WORKER), time)
    with elected(db):
        yield one
        for subscription in one.subscriptions:
            subscription.close()


@pytest.mark.parametrize(("state", "event", "is_last"), CASES)
def test_an_event_changes_a_delivery_as_the_table_says(
    delivery: Delivery, state: DeliveryState, event: Event, is_last: bool
) -> None:
    delivery.bring_to(state, is_last)
    before = delivery.row()
    assert state_of(before, delivery.time.now()) == state

    delivery.meet(event)

    after = delivery.row()
    assert state_of(after, delivery.time.now()) == next_state(state, event, is_last_attempt=is_last)
    if not any(
        row.event == event and state.state in row.states and state.availability in row.availabilities
        for row in LIFECYCLE
    ):
        assert after == before


@pytest.mark.parametrize("first", ["the watch", "its recipient", "another"])
def test_a_delivery_whose_last_lease_ended_is_dead_even_if_it_expired_since(
    delivery: Delivery, connect: Callable[..., BusClient], first: str
) -> None:
    delivery.send(max_attempts=1, expires_in_s=60, report="undelivered")
    delivery.worker.claim(lease_s=30)
    delivery.time.step(HOUR_S)
    if first != "the watch":
        delivery.boss.send("other:s", "job")
        connect(WORKER if first == "its recipient" else "other:s").claim()

    delivery.meet("apply_due")

    (report,) = delivery.boss.inbox()
    assert (report.body["state"], report.body["attempts"]) == ("dead", 1)


def test_every_statement_that_changes_a_delivery_is_an_event_of_the_table() -> None:
    by_another_name: dict[str, set[str]] = {
        "mark_delivered": {"show"},
        "renew": {"extend"},
        "release_one": {"release"},  # a prefetched delivery
        "release_due": {"apply_due"},
        "release_delayed": {"apply_due"},
        "claim_one": {"claim"},
        "expire_dead": {"purge"},
        "expire_older": {"expire"},  # these two only let the expiry pass
        "shorten_lives": {"expire"},
        "release_held": {"returned"},
        "reclaim": {"returned"},
        "restamp": set(),  # these three change only the link's mark
        "unmark": set(),
        "mark_shared": set(),
    }

    changing = [name for name, sql in SQL.items() if re.match("UPDATE (OR FAIL )?deliveries", sql)]

    events = {event for name in changing for event in by_another_name.get(name, {name})}
    assert events | {"nack_delayed"} == set(get_args(Event))
    assert {row.event for row in LIFECYCLE} == set(get_args(Event))


def test_only_a_requeue_and_a_second_handover_reopen_a_finished_delivery() -> None:
    ways_back = {
        (state, event)
        for state, event, is_last in product(FINAL, get_args(Event), (False, True))
        if next_state(DeliveryState(state, None), event, is_last_attempt=is_last).state in OPEN
    }

    assert ways_back == {("dead", "requeue"), ("dead", "returned"), ("expired", "revive")}


def test_the_page_of_guarantees_shows_the_table() -> None:
    page = Path(__file__).parents[2] / "docs" / "guarantees.md"

    assert markdown() in page.read_text(encoding="utf-8")
