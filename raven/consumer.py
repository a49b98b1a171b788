"""Consumer: what one address has in its inbox, claims, finishes and gives back."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from raven.delivery.mailbox import Mailbox
from raven.errors import LeaseLostError
from raven.model import clock
from raven.model.draft import check_optional_text, check_span
from raven.model.leases import Holdings, check_lease, check_token
from raven.model.message import Message, State, check_id, check_max, message_of
from raven.sender import BusSender

_T = TypeVar("_T")


class BusConsumer(BusSender):
    """The half of a BusClient that receives, but for its loops."""

    _mailbox: Mailbox
    _holdings: Holdings

    def inbox(self, max: int = 100, peek: bool = False, *, max_bytes: int | None = None) -> list[Message]:
        """Return what is not acked, by urgency, then id, again and again until acked.

        What is seen for the first time is marked `delivered`; with `peek` nothing is marked. Messages whose delay is
        not over or whose time has run out are not shown. With `max_bytes` it stops after the message with which they
        come to so much.
        """
        check_max(max)
        return self._mailbox.inbox(max, peek, max_bytes)

    def read(self, id: int) -> Message:
        """Return one message, as this address sees it if it is a recipient; changes nothing. MessageNotFoundError."""
        check_id(id)
        self._store.verify()
        rows = self._store.rows("message_to", {"message_id": id, "recipient": self.address})
        return message_of(rows[0], clock.now()) if rows else super().read(id)

    def claim(
        self, max: int = 1, lease_s: float = 30.0, *, max_bytes: int | None = None, remember: bool = True
    ) -> list[Message]:
        """Take up to `max` ready messages under a lease of `lease_s` seconds; by urgency, then id; at least once.

        `ack` each, or `nack` it, or `extend` its lease, before that ends: else it is ready again, for whoever comes
        first, and dead after its last attempt. `attempts` counts this one. Never waits; none where nothing is ready.
        With `max_bytes` it stops after the message with which they come to so much.

        The client remembers its leases, so that a late `ack` is refused; a program that speaks for several consumers
        passes `remember=False`, and each message's `lease` when it acks.
        """
        check_max(max)
        check_lease(lease_s)
        messages = self._mailbox.claim(max, lease_s, max_bytes)
        if remember and messages:
            before = {message.id: self._holdings.lease_of(message.id) for message in messages}
            self._holdings.remember(messages)
            if self._store.group_depth():
                self._store.after_commit(lambda _: None, undo=lambda: self._holdings.restore(before))
        return messages

    def ack(self, id: int, *, lease: int | None = None) -> None:
        """Finish this address's delivery of a message; idempotent. MessageNotFoundError where it has none.

        What this client has claimed, or another has whose `lease` is given, it acks only while no other has the
        message: else LeaseLostError, and what was done for it should be undone.
        """
        self._under_lease(id, lease, lambda token: self._mailbox.ack(id, token))

    def nack(self, id: int, delay_s: float = 0, reason: str | None = None, *, lease: int | None = None) -> State:
        """Give a message back, ready for anyone at once or after `delay_s` seconds, saying why.

        Returns its state: `dead` if that was its last attempt. Raises LeaseLostError as `ack` does, DeliveryError for
        what is finished, MessageNotFoundError.
        """
        delay_us = check_span("delay_s", delay_s, least=0) or 0
        check_optional_text("reason", reason)
        return self._under_lease(id, lease, lambda token: self._mailbox.nack(id, token, delay_us, reason))

    def extend(self, id: int, lease_s: float = 30.0, *, lease: int | None = None) -> None:
        """Let the lease of a message end `lease_s` seconds from now. LeaseLostError where it is not leased any more."""
        check_lease(lease_s)
        self._under_lease(id, lease, lambda token: self._mailbox.extend(id, token, lease_s), ends=False)

    def _under_lease(self, id: int, lease: int | None, step: Callable[[int | None], _T], *, ends: bool = True) -> _T:
        """Take a step with the lease of a message, the one given or remembered; forget it once its end is committed.

        A lease that is lost makes room for another message in the loop that had it; an ack of it stays refused.
        """
        check_id(id)
        check_token(lease)
        remembered = self._holdings.lease_of(id)
        is_own = remembered is not None and lease in (None, remembered)
        try:
            result = step(remembered if lease is None else lease)
        except LeaseLostError:
            if is_own:
                self._wake_if(self._holdings.lose(id))
            raise
        if ends and is_own and remembered is not None:
            self._store.after_commit(lambda _: self._end_lease(id, remembered))
        return result

    def _end_lease(self, id: int, token: int) -> None:
        """Forget a lease, unless the message was claimed anew meanwhile."""
        if self._holdings.lease_of(id) == token:
            self._wake_if(self._holdings.forget(id))

    def _wake_if(self, waits: bool) -> None:
        """Wake the loop of this client that waits for room."""
        if waits:
            self._doorbells.ring([self.address])
