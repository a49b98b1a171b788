"""Streams: messages as the helper pushes them, each stream over a connection of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from raven import (
    AckMode,
    ClosedError,
    DeliveryError,
    InputError,
    LostError,
    Message,
    MessageNotFoundError,
    UnreachableError,
)
from raven_rpc.wire import Wire, message_of

if TYPE_CHECKING:
    from raven_rpc.client import Client

# With auto acks a message is acked when its turn comes; more than a few ahead would only be kept from others.
_AHEAD = 4
_MAX_WINDOW = 10_000


class Stream:
    """One subscription at the helper, made again when the connection was lost; closed by `close` from any thread."""

    def __init__(self, client: Client, timeout_s: float | None) -> None:
        self._client = client
        self._deadline = deadline_after(timeout_s)
        self._wire: Wire | None = None
        self._is_closed = False
        self.number = 0
        client._streams.add(self)

    def connect(self, method: str, params: dict[str, Any]) -> Wire:
        """Return the open connection, or make one and subscribe."""
        if self._wire is None:
            left = left_s(self._deadline)
            self._wire = self._client.persist(lambda: self._connect_once(method, params), lost_too=True, at_most_s=left)
        return self._wire

    def next_message(self, method: str, params: dict[str, Any]) -> Message | None:
        """Return the next message; None at the deadline, when the stream has ended or was closed."""
        while not self._is_closed:
            try:
                push = self.connect(method, params).next_push(left_s(self._deadline))
            except LostError:
                self.drop()
                continue
            except UnreachableError:
                if self.is_over():
                    return None
                raise
            return None if push is None else message_of(push)
        return None

    def drop(self) -> None:
        """Forget a connection that was lost."""
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    def is_over(self) -> bool:
        """Whether the deadline has passed."""
        return self._deadline is not None and time.monotonic() >= self._deadline

    def close(self) -> None:
        """End; the helper gives back what was pushed and not acked."""
        self._is_closed = True
        if self._wire is not None:
            self._wire.close()

    def _connect_once(self, method: str, params: dict[str, Any]) -> Wire:
        wire = self._client.connect()
        try:
            self.number = wire.ask(method, params)["subscription"]
        except BaseException:
            wire.close()
            raise
        return wire


def listen(
    client: Client, ack: AckMode, max_per_poll: int, poll_interval_s: float, timeout_s: float | None
) -> Iterator[Message]:
    """Yield the mail of the client's address."""
    params = subscription(client.address, ack, max_per_poll, poll_interval_s)
    stream = Stream(client, timeout_s)
    try:
        with suppress(ClosedError):
            while (message := stream.next_message("subscribe", params)) is not None:
                if ack == "auto" and not _ack(stream, params, message):
                    continue
                yield acked(message) if ack == "auto" else message
                if stream.is_over():
                    return
    finally:
        stream.close()


def _ack(stream: Stream, params: dict[str, Any], message: Message) -> bool:
    """Ack a message before it is handed out; where that is not known to have worked, it is not handed out."""
    try:
        stream.connect("subscribe", params).ask("ack", {"id": message.id, "subscription": stream.number})
    except (DeliveryError, MessageNotFoundError):  # its lease has ended, and another may have it
        return False
    except (LostError, UnreachableError):
        stream.drop()
        return False
    return True


def acked(message: Message) -> Message:
    """Return a message as it is once it was taken, just now."""
    now = datetime.now(UTC)
    seen = message.delivered_at or now
    return replace(message, state="acked", attempts=message.attempts + 1, delivered_at=seen, acked_at=now)


def tail(
    client: Client, from_id: int, role: str | list[str] | None, follow: bool, timeout_s: float | None
) -> Iterator[Message]:
    """Yield the log from an id on."""
    stream = Stream(client, timeout_s if follow else None)
    try:
        with suppress(ClosedError):
            while True:
                params = {"from_id": from_id, "follow": follow, **({} if role is None else {"role": role})}
                message = stream.next_message("tail", params)
                if message is None:
                    return
                yield message
                from_id = message.id + 1
    finally:
        stream.close()


def subscription(address: str | None, ack: AckMode, max_per_poll: int, poll_interval_s: float) -> dict[str, Any]:
    """Return the parameters of `subscribe`; raises InputError for what BusClient does not take either."""
    if ack not in ("auto", "manual"):
        raise InputError(f"ack {ack!r} is not known: use 'auto' or 'manual'")
    if not isinstance(max_per_poll, int) or not 1 <= max_per_poll <= _MAX_WINDOW:
        raise InputError(f"max_per_poll {max_per_poll!r} is out of range: use 1 to {_MAX_WINDOW:,}")
    if not isinstance(poll_interval_s, int | float) or not 0 < poll_interval_s <= 3600:
        raise InputError(f"poll_interval_s {poll_interval_s!r} is out of range: use more than 0, up to 3600 seconds")
    window = max_per_poll if ack == "manual" else min(max_per_poll, _AHEAD)
    return {"role": address, "ack": "manual" if ack == "manual" else "ahead", "window": window}


def deadline_after(timeout_s: float | None) -> float | None:
    """Return when `timeout_s` seconds are over, or None; raises InputError."""
    if timeout_s is None:
        return None
    if not isinstance(timeout_s, int | float) or not timeout_s >= 0:
        raise InputError(f"timeout_s {timeout_s!r} is not a number of seconds, 0 or more")
    return time.monotonic() + timeout_s


def left_s(deadline: float | None) -> float | None:
    """Return how many seconds are left until a deadline, or None."""
    return None if deadline is None else max(0.0, deadline - time.monotonic())
