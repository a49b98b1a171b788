"""A plain model of a bus in memory; a bus file must agree with it after every step.

It knows nothing of SQLite and shares no code with raven. Times are microseconds, 0 for ready; a lease is the token of
its holder. It refuses each call that raven must refuse, with the name of the error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

OWN_WORDS = "(raven's own words)"
REPORT = "raven.undelivered"


class Refused(Exception):  # noqa: N818 not an error of the model
    """Raven must raise the error of this name and change nothing."""


@dataclass
class Delivery:
    """One message on its way to one recipient."""

    id: int
    recipient: str
    sender: str
    urgency: int
    created_at: int
    ready_at: int
    expires_at: int | None
    max_attempts: int
    report: bool
    dedup_key: str | None
    state: str = "sent"
    attempts: int = 0
    lease: int | None = None
    reason: str | None = None
    died_at: int = 0

    @property
    def is_open(self) -> bool:
        return self.state in ("sent", "delivered")

    def is_over(self, now: int) -> bool:
        return self.expires_at is not None and self.expires_at <= now

    def is_leased(self, now: int) -> bool:
        return self.lease is not None and self.ready_at > now

    def has_waited(self, now: int) -> bool:
        return 0 < self.ready_at <= now

    def is_spent(self) -> bool:
        return self.attempts >= self.max_attempts

    def finish(self, state: str, lease: int | None = None) -> None:
        self.state, self.ready_at, self.lease = state, 0, lease


@dataclass
class Bus:
    """All deliveries, the time, and the reports that raven must still send."""

    now: Callable[[], int]
    book: Callable[[], None]  # copies the sent reports with their ids
    newest: int = 0
    messages: dict[int, Delivery] = field(
        default_factory=dict
    )  # one delivery of each message, for the columns that all share
    deliveries: dict[tuple[int, str], Delivery] = field(default_factory=dict)
    owed: list[tuple[int, str, str]] = field(default_factory=list)

    # Senders.

    def send(self, id: int, sender: str, recipients: Iterable[str], **options: Any) -> None:
        now, life, delay = self.now(), options.get("expires_in_s"), options.get("delay_s")
        for recipient in recipients:
            self.deliveries[id, recipient] = self.messages[id] = Delivery(
                id=id,
                recipient=recipient,
                sender=sender,
                urgency=("blocking", "prompt", "fyi").index(options.get("urgency", "prompt")),
                created_at=now,
                ready_at=now + delay * 1_000_000 if delay else 0,
                expires_at=None if life is None else now + life * 1_000_000,
                max_attempts=options.get("max_attempts") or 5,
                report=options.get("report") is not None,
                dedup_key=options.get("dedup_key"),
            )
        self.newest = id

    def first_of(self, sender: str, dedup_key: str | None) -> int | None:
        """Return the id of the sender's first message with a dedup_key."""
        same = [m.id for m in self.messages.values() if m.sender == sender and m.dedup_key == dedup_key]
        return min(same) if same and dedup_key is not None else None

    def withdraw(self, id: int) -> None:
        for one in self._of_message(id):
            if one.is_open:
                one.expires_at = self.now()
            if one.is_open and one.lease is None:
                one.finish("expired")

    # Time.

    def release_due(self, address: str | None) -> None:
        for one in self._open(address):
            if one.has_waited(self.now()):
                self._release(one, one.ready_at)

    def expire(self) -> None:
        for one in self._open():
            if one.is_over(self.now()) and one.lease is None:
                one.finish("expired")
                self._report(one)

    def apply_due(self) -> None:
        self.release_due(None)
        self.expire()
        self.book()

    # Recipients.

    def claim(
        self, address: str, max: int, token: int, lease_s: int, *, notified: bool = False, again: bool = False
    ) -> list[int]:
        return self._lease(self.ready(address, max, notified=notified, again=again), token, lease_s, counts=True)

    def prefetch(self, address: str, max: int, token: int, lease_s: int, *, notified: bool = False) -> list[int]:
        return self._lease(self.ready(address, max, notified=notified), token, lease_s, counts=False)

    def consume_ready(self, address: str, max: int, *, notified: bool = False) -> list[int]:
        taken = self.ready(address, max, notified=notified)
        for one in taken:
            one.attempts += 1
            one.finish("acked")
        return [one.id for one in taken]

    def consume(self, id: int, address: str, token: int) -> None:
        one = self.deliveries.get((id, address))
        if one is None or not one.is_open or one.lease != token or one.is_over(self.now()):
            if one is not None and one.is_open and one.lease == token:
                one.ready_at, one.lease = 0, None
            raise Refused("LeaseLostError")
        one.attempts += 1
        one.finish("acked")

    def ready(self, address: str, max: int, *, notified: bool, again: bool = False) -> list[Delivery]:
        """Return the ready deliveries; first apply due timers, always with `again`, never if notified."""
        if not notified and (again or any(one.ready_at <= self.now() for one in self._open(address))):
            self.release_due(address)
            self.expire()
            self.book()
        ready = [one for one in self._open(address) if one.ready_at == 0 and not one.is_over(self.now())]
        return self._in_order(ready)[:max]

    def claimable(self, address: str) -> list[int]:
        """Return the ids that a claim would return, in its order; changes nothing."""
        now = self.now()
        due = [one for one in self._open(address) if one.ready_at <= now and not one.is_over(now)]
        return [one.id for one in self._in_order(due) if not (one.lease and one.is_spent())]

    def visible(self, address: str) -> list[Delivery]:
        """Return the deliveries of an inbox, in its order."""
        now = self.now()
        seen = [one for one in self._open(address) if one.lease is not None or one.ready_at <= now]
        return self._in_order(one for one in seen if not one.is_over(now))

    def ack(self, id: int, address: str, lease: int | None) -> None:
        one = self._of(id, address)
        if one.is_open:
            self._check_lease(one, lease)
            one.finish("acked", lease)
        elif lease is not None and (one.state, one.lease) != ("acked", lease):
            raise Refused("LeaseLostError")

    def nack(self, id: int, address: str, lease: int | None, delay_s: int, reason: str | None) -> str:
        one = self._of(id, address)
        if not one.is_open:
            raise Refused("DeliveryError" if lease is None else "LeaseLostError")
        self._check_lease(one, lease)
        one.ready_at, one.lease, one.reason = 0, None, reason or one.reason
        if one.is_spent():
            self._die(one, self.now(), reason or OWN_WORDS)
        elif delay_s:
            one.ready_at = self.now() + delay_s * 1_000_000
        return one.state

    def extend(self, id: int, address: str, lease: int | None, lease_s: int) -> None:
        one = self._of(id, address)
        if not one.is_open or one.lease is None or lease not in (None, one.lease):
            raise Refused("LeaseLostError")
        one.ready_at = self.now() + lease_s * 1_000_000

    def renew(self, address: str, token: int, lease_s: int) -> set[int]:
        held = [one for one in self._open(address) if one.lease == token]
        for one in held:
            one.ready_at = max(one.ready_at, self.now() + lease_s * 1_000_000)
        return {one.id for one in held}

    def release(self, address: str, token: int) -> None:
        for one in self._open(address):
            if one.lease == token:
                self._release(one, self.now())

    def receipts(self, id: int) -> list[tuple[str, str, int, bool]]:
        if id not in self.messages:
            raise Refused("MessageNotFoundError")
        deliveries, now = self._of_message(id), self.now()
        if any(one.is_open and (one.has_waited(now) or one.is_over(now)) for one in deliveries):
            self.apply_due()
        return [(one.recipient, one.state, one.attempts, one.is_open and one.is_leased(now)) for one in deliveries]

    # Finished deliveries.

    def requeue(self, id: int, address: str | None) -> int:
        self.apply_due()
        deliveries = [one for one in self._of_message(id) if address in (None, one.recipient)]
        dead = [one for one in deliveries if one.state == "dead"]
        if not dead:
            raise Refused("DeliveryError" if deliveries else "MessageNotFoundError")
        revived = self._revive(dead)
        if not revived:
            raise Refused("ExpiredError")
        return revived

    def requeue_all(self, address: str | None) -> int:
        self.apply_due()
        return self._revive(self.dead(address))

    def dead(self, address: str | None) -> list[Delivery]:
        return [one for one in self.deliveries.values() if one.state == "dead" and address in (None, one.recipient)]

    def purge(self, address: str | None) -> int:
        self.apply_due()
        dead = self.dead(address)
        for one in dead:
            # For a minute its sender can ask what became of it.
            if one.id == self.newest or self.now() - 60_000_000 < one.died_at <= self.now():
                one.state = "expired"
            else:
                del self.deliveries[one.id, one.recipient]
        for id in {one.id for one in dead}:
            if not self._of_message(id):
                del self.messages[id]
        return len(dead)

    def prune(self, older_than_s: int) -> int:
        self.apply_due()
        before = self.now() - older_than_s * 1_000_000
        in_use = {one.id for one in self.deliveries.values() if one.is_open or one.state == "dead"}
        old = [
            id for id in self.messages.keys() - in_use if id != self.newest and self.messages[id].created_at < before
        ]
        for id in old:
            del self.messages[id]
            self.deliveries = {key: one for key, one in self.deliveries.items() if key[0] != id}
        return len(old)

    def _of(self, id: int, address: str) -> Delivery:
        if (id, address) not in self.deliveries:
            raise Refused("MessageNotFoundError")
        return self.deliveries[id, address]

    def _of_message(self, id: int) -> list[Delivery]:
        return [one for one in self.deliveries.values() if one.id == id]

    def _open(self, address: str | None = None) -> list[Delivery]:
        return [one for one in self.deliveries.values() if one.is_open and address in (None, one.recipient)]

    def _in_order(self, deliveries: Iterable[Delivery]) -> list[Delivery]:
        return sorted(deliveries, key=lambda one: (one.urgency, one.id))

    def _check_lease(self, one: Delivery, lease: int | None) -> None:
        if lease is not None and one.lease != lease and one.is_leased(self.now()):
            raise Refused("LeaseLostError")

    def _lease(self, deliveries: list[Delivery], token: int, lease_s: int, *, counts: bool) -> list[int]:
        for one in deliveries:
            one.ready_at, one.lease = self.now() + lease_s * 1_000_000, token
            if counts:
                one.state = "delivered"
                one.attempts += 1
        return [one.id for one in deliveries]

    def _release(self, one: Delivery, at: int) -> None:
        if one.lease is not None and one.is_spent():
            self._die(one, at)
        else:
            one.ready_at, one.lease = 0, None

    def _die(self, one: Delivery, at: int, reason: str = OWN_WORDS) -> None:
        one.finish("dead")
        one.reason, one.died_at = reason, at
        self._report(one)

    def _report(self, one: Delivery) -> None:
        if one.report:
            self.owed.append((one.id, one.recipient, one.state))

    def _revive(self, dead: list[Delivery]) -> int:
        revived = [one for one in dead if not one.is_over(self.now())]
        for one in revived:
            one.state, one.attempts = "sent", 0
        return len(revived)
