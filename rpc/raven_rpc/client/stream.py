"""Streams: messages as the helper pushes them, each stream over a connection of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import raven
from raven import (
    AckMode,
    ClosedError,
    DeliveryError,
    Holdings,
    InputError,
    LostError,
    Message,
    MessageNotFoundError,
    UnreachableError,
    deadline_after,
    left_s,
)
from raven_rpc.client.connection import Wire, message_of, shaped

if TYPE_CHECKING:
    from raven_rpc.client.client import Client
    from raven_rpc.client.retry import Link

# With auto acks a message is acked when its turn comes; more than a few ahead would only be kept from others.
_AHEAD = 4
_MAX_WINDOW = 10_000
# Before it connects again, lest a helper that takes everybody and drops them be asked without end.
LOST_PAUSE_S = 0.02


class Stream:
    """One subscription at the helper, made again when the connection was lost; closed by `close` from any thread."""

    def __init__(self, client: Link, timeout_s: float | None) -> None:
        self._client = client
        self._deadline = deadline_after(timeout_s)
        self._wire: Wire | None = None
        self._is_closed = False
        self.number = 0
        client.keep(self)

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
            except (LostError, UnreachableError) as error:
                self.drop()
                if self.is_over():
                    return None
                if isinstance(error, UnreachableError):
                    raise
                time.sleep(LOST_PAUSE_S)
                continue
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
            self.number = shaped(lambda result: int(result["subscription"]), wire.ask(method, params))
        except BaseException:
            wire.close()
            raise
        return wire


class Options(NamedTuple):
    """How a loop is to go on, in the words of `BusClient.subscribe`."""

    ack: AckMode
    lease_s: float
    poll_interval_s: float
    max_per_poll: int

    def params(self, address: str | None) -> dict[str, Any]:
        """Return the parameters of `subscribe`; raises InputError for what BusClient does not take either."""
        if self.ack not in ("auto", "manual"):
            raise InputError(f"ack {self.ack!r} is not known: use 'auto' or 'manual'")
        raven.check_lease(self.lease_s)
        most = self.max_per_poll
        if not isinstance(most, int) or isinstance(most, bool) or not 1 <= most <= _MAX_WINDOW:
            raise InputError(f"max_per_poll {most!r} is out of range: use 1 to {_MAX_WINDOW:,}")
        check_poll_interval(self.poll_interval_s)
        window = most if self.ack == "manual" else min(most, _AHEAD)
        return {"role": address, "ack": "manual" if self.ack == "manual" else "ahead", "window": window}


class Hands:
    """The leases of what one loop has handed out to be acked: its client knows them until the loop is left."""

    def __init__(self, holdings: Holdings) -> None:
        self._holdings = holdings
        self._tokens: set[int] = set()

    def take(self, message: Message) -> None:
        """Note what is handed out."""
        if message.lease is not None:
            if message.lease not in self._tokens:
                self._tokens.add(message.lease)
                self._holdings.open_room(message.lease)
            self._holdings.remember([message])

    def let_go(self) -> None:
        """Note that the helper gives back what is not acked."""
        while self._tokens:
            self._holdings.close_room(self._tokens.pop())


def listen(client: Client, options: Options, timeout_s: float | None) -> Iterator[Message]:
    """Yield the mail of the client's address."""
    params = options.params(client.address)
    stream, hands = Stream(client, timeout_s), Hands(client._holdings)
    try:
        with suppress(ClosedError):
            while (message := stream.next_message("subscribe", params)) is not None:
                if options.ack == "auto" and not _ack(stream, params, message):
                    continue
                hands.take(message)
                yield acked(message) if options.ack == "auto" else message
                if stream.is_over():
                    return
    finally:
        stream.close()
        hands.let_go()


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
    return replace(
        message, state="acked", attempts=message.attempts + 1, delivered_at=seen, acked_at=now, finished_at=now
    )


def tail(
    client: Link, from_id: int, role: str | list[str] | None, follow: bool, timeout_s: float | None
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


def check_poll_interval(poll_interval_s: object) -> None:
    """Refuse what BusClient does not take either; raises InputError."""
    if not isinstance(poll_interval_s, int | float) or not 0 < poll_interval_s <= 3600:
        raise InputError(f"poll_interval_s {poll_interval_s!r} is out of range: use more than 0, up to 3600 seconds")
