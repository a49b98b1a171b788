"""Subscription: the request of a loop to the server, and its handling of each pushed message; no I/O.

After a lost connection a loop subscribes again: unacked mail is pushed again, and a log continues after the last
message.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from raven.errors import DeliveryError, InputError, MessageNotFoundError, abbreviate
from raven.model import clock
from raven.model.clock import Moment
from raven.model.leases import LeaseTracker
from raven.model.limits import PUSH_LEASE_S, check_lease, check_poll_interval, is_integer
from raven.model.message import AckMode, Message
from raven_rpc.client.calls import without_none
from raven_rpc.client.exchange import JsonObject, decode_as, message_of

# With auto acks a message is acked just before it is delivered; prefetching more would only delay other consumers.
_PREFETCH = 4
_MAX_WINDOW = 10_000
# The pause before a loop connects again, so that it does not spin at a server that drops every connection.
LOST_PAUSE_S = 0.02
# A loop with manual acks delivers a message that it was pushed, or held, so short a time ago; otherwise it asks.
_RECENT_US = 100_000
_MOST_RECENT_US = 1_000_000
_PAUSES = 20
_LEASE_US = clock.to_micros(PUSH_LEASE_S)
# The server leases the messages that it lists in the result of `held` for so long at least.
_HELD_US = _LEASE_US // 3
# A lease that ends sooner may end before the user of the loop has the message.
_LEAST_US = 100_000
# The two clocks are not read at once: they may differ by so much though neither was set.
_JITTER_US = 1_000
# The server's errors for the ack of a message whose lease has ended: another consumer may have the message.
REFUSALS = (DeliveryError, MessageNotFoundError)


class Options(NamedTuple):
    """The options of a loop, named as in `BusClient.subscribe`."""

    ack: AckMode
    lease_s: float
    poll_interval_s: float
    max_per_poll: int

    def params(self, address: str | None) -> dict[str, Any]:
        """Return the parameters of `subscribe`; raises InputError as BusClient does."""
        if self.ack not in ("auto", "manual"):
            raise InputError(f"ack {abbreviate(self.ack)} is not known: use 'auto' or 'manual'")
        check_lease(self.lease_s)
        most = self.max_per_poll
        if not is_integer(most, 1, _MAX_WINDOW):
            raise InputError(f"max_per_poll {abbreviate(most)} is out of range: use 1 to {_MAX_WINDOW:,}")
        check_poll_interval(self.poll_interval_s)
        window = most if self.ack == "manual" else min(most, _PREFETCH)
        return without_none(
            {"role": address, "ack": "manual" if self.ack == "manual" else "prefetch", "window": window}
        )


class Question(NamedTuple):
    """A call by which a loop asks, before it delivers a message, whether it holds that message now.

    The loop does if the call succeeds, `holds(result)` is true, and the connection of leased messages has not ended.
    `holds` returns None if the result came too late: ask a new question.
    """

    method: str
    params: dict[str, Any]
    holds: Callable[[Any], bool | None]


class Subscription:
    """One subscription at the server: its method, its parameters, and the number that the server gives it."""

    is_leased = False  # whether messages that were pushed go to others when the connection ends

    def __init__(self, method: str, params: dict[str, Any]) -> None:
        self.method = method
        self.params = params
        self._number = 0

    def begin(self, result: Any) -> None:
        """Note the server's result of `method`; raises ServerError if it has no subscription number."""
        self._number = decode_as(lambda value: int(value["subscription"]), result)

    def message_of(self, notification: JsonObject) -> Message | None:
        """Return the message of a notification, or None at the end; raises the error that the server reports."""
        return message_of(notification)

    def question(self, message: Message, leased_until: str | None) -> Question | None:
        """Return the call that must succeed before a message is delivered, or None; see Question."""
        return None

    def deliver(self, message: Message) -> Message:
        """Note that the loop delivers a message, and return it as its user sees it."""
        return message

    def end(self) -> None:
        """Note that the loop has ended, and the server releases every message that was not acked."""


class Mail(Subscription):
    """The mail of an address. With auto acks each message is acked before it is delivered, else leased to the loop.

    The client knows the leases of a manual loop in `leases` until the loop ends.
    """

    def __init__(self, address: str | None, options: Options, leases: LeaseTracker) -> None:
        super().__init__("subscribe", options.params(address))
        self._acks = options.ack == "auto"
        self.is_leased = not self._acks
        self._leases = leases
        self._tokens: set[int] = set()
        self._seen = self._held_at = clock.moment()
        self._set_back_from = 0  # the latest time that the clock had shown when it was set back
        self._held: set[int] = set()  # the messages that the loop held at `_held_at`, and until `_held_until` at least
        self._held_until = 0
        self._recent_us = min(_RECENT_US, _MOST_RECENT_US)
        self._leased_until = ""
        self._lease_began = 0

    def begin(self, result: Any) -> None:
        """Note the server's result of `method`; what an earlier subscription held is lost."""
        super().begin(result)
        self._held = set()

    def question(self, message: Message, leased_until: str | None) -> Question | None:
        """Return the call that must succeed before a message is delivered, or None for one that came just now."""
        if self._acks:
            return Question("ack", {"id": message.id, "subscription": self._number}, _is_done)
        now = clock.moment()
        if leased_until is None:  # an older server
            lease = {"id": message.id, "role": message.recipient, "lease": message.lease}
            return Question("extend", {**lease, "lease_s": PUSH_LEASE_S}, partial(_is_extended, now))
        if self._came_just_now(message, leased_until, now) or self._was_held_just_now(message, now):
            return None
        return Question("held", {"subscription": self._number}, partial(self._holds, message.id, now))

    def _came_just_now(self, message: Message, leased_until: str, now: Moment) -> bool:
        latest, self._seen = self._seen.latest(now), now
        if latest > now.wall + _JITTER_US:
            self._set_back_from = max(self._set_back_from, latest)
        leased_at = self._leased_at(leased_until)
        # Before a clock was set back it may have shown this time, too, longer ago.
        is_recent = 0 <= now.wall - leased_at <= self._recent_us and leased_at > self._set_back_from
        # One that came a second time may be finished since: a copy of it may lie before it in the buffer.
        return is_recent and message.attempts <= 1

    def _was_held_just_now(self, message: Message, now: Moment) -> bool:
        if message.id not in self._held or not _is_before(self._held_until, self._held_at, now):
            return False
        return self._held_at.latest(now) - self._held_at.wall <= self._recent_us

    def _leased_at(self, leased_until: str) -> int:
        """Return when the server leased a message at the latest; messages of one push share the text."""
        if leased_until != self._leased_until:
            end = decode_as(_micros, leased_until)
            self._leased_until, self._lease_began = leased_until, end - _LEASE_US
        return self._lease_began

    def _holds(self, message_id: int, asked_at: Moment, result: Any) -> bool | None:
        """Note the result of `held`, and return whether the loop holds a message; None if its lease may have ended."""
        self._held = decode_as(lambda value: set(value["held"]), result)
        self._held_at, self._held_until = asked_at, decode_as(partial(_held_until, asked_at), result)
        now = clock.moment()
        # With a large window the answer takes a while: ask for it in a twentieth of the time at most.
        took = asked_at.latest(now) - asked_at.wall
        self._recent_us = min(max(_RECENT_US, _PAUSES * took), _MOST_RECENT_US)
        if message_id not in self._held:
            return False
        return _is_before(self._held_until, asked_at, now) or None

    def deliver(self, message: Message) -> Message:
        """Note the lease of a message, or return it as it is once acked."""
        if self._acks:
            return _as_acked(message)
        self._held.discard(message.id)
        if message.lease is not None:
            if message.lease not in self._tokens:
                self._tokens.add(message.lease)
                self._leases.open_window(message.lease)
            self._leases.remember([message])
        return message

    def end(self) -> None:
        """Forget the leases of the loop; from any thread. Idempotent."""
        while self._tokens:
            self._leases.close_window(self._tokens.pop())


class Log(Subscription):
    """The log of the bus from an id on; with `role`, only messages of these addresses."""

    def __init__(self, from_id: int, role: str | Sequence[str] | None, follow: bool) -> None:
        addresses = role if role is None or isinstance(role, str) else list(role)
        super().__init__("tail", {"from_id": from_id, "follow": follow, **without_none({"role": addresses})})

    def deliver(self, message: Message) -> Message:
        """Note that the log goes on behind this message."""
        self.params["from_id"] = message.id + 1
        return message


def _is_done(result: Any) -> bool:
    return True


def _is_extended(asked_at: Moment, result: Any) -> bool | None:
    return _is_before(asked_at.wall + _LEASE_US, asked_at, clock.moment()) or None


def _held_until(asked_at: Moment, result: Any) -> int:
    """Return when the first of the leases that the result of `held` lists may end, in microseconds since 1970."""
    text = result.get("leased_until")
    until = 0 if text is None else _micros(text)
    # An older server tells no time. A time before the question is that of another clock, or the clock was set back.
    return until if until > asked_at.wall else asked_at.wall + _HELD_US


def _is_before(end: int, then: Moment, now: Moment) -> bool:
    """Whether a lease that was held at a moment has not ended since, nor soon will, even if the clock was set back."""
    return then.latest(now) < end - _LEAST_US


def _micros(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1e6)


def _as_acked(message: Message) -> Message:
    """Return a message as it is once it was acked, just now."""
    now = clock.from_micros(clock.now())
    seen = message.delivered_at or now
    return replace(
        message, state="acked", attempts=message.attempts + 1, delivered_at=seen, acked_at=now, finished_at=now
    )
