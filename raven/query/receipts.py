"""Receipts: the state of each delivery of a message, at once or when all have reached a state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, get_args

from raven.delivery import expiry
from raven.errors import (
    BusyError,
    DatabaseError,
    InputError,
    MessageNotFoundError,
    UndeliveredError,
    WaitTimeoutError,
    abbreviate,
)
from raven.model import clock
from raven.model.clock import deadline_after, remaining_s
from raven.model.lifecycle import FINAL
from raven.model.message import HELD_UNTIL, STATES, State
from raven.model.status import Receipt
from raven.store.database import Store
from raven.wake.doorbell import Doorbells, receipt_address
from raven.wake.handle import Handle
from raven.wake.retry import retry_when_busy
from raven.wake.sigterm import raise_on_sigterm
from raven.wake.waiter import Waiter

# A timer that is past due is just being applied by another process: poll again after this pause.
_SHORTEST_PAUSE_S = 0.005


def receipts(store: Store, doorbells: Doorbells, message_id: int, scope: str | None = None) -> list[Receipt]:
    """Return the receipts of a message, in the order of its recipients; MessageNotFoundError if it does not exist.

    With `scope`, the JSON array of some addresses, only the receipts that these may see.
    """
    rows = _rows(store, message_id, scope)
    now = clock.now()
    if any(row[1] < 2 and (0 < row[4] <= now or (row[8] or now + 1) <= now) for row in rows):
        # If the bus cannot be written now, due timers are applied a little later.
        with suppress(DatabaseError):
            store.no_wait(partial(expiry.apply_due, store, doorbells.ring, expiry.TICK_S))
        rows = _rows(store, message_id, scope)
    return [receipt_of(row, now) for row in rows]


class ReceiptPoller:
    """Checks whether all deliveries of a message have reached a state; for an event loop of your own.

    `read` returns the receipts of the message. Call `poll` at once, when a listener for them is notified, after
    `next_due_s()` seconds, and at every fallback poll.
    """

    def __init__(self, read: Callable[[], list[Receipt]], message_id: int, state: State = "acked") -> None:
        if state not in get_args(State):
            raise InputError(f"state {abbreviate(state)} is not known: use {', '.join(STATES)}")
        self._read = read
        self._message_id = message_id
        self._state: State = state
        self._receipts: list[Receipt] = []

    def poll(self) -> list[Receipt] | None:
        """Return the receipts if all have reached the state, else None; raises UndeliveredError if one never can."""
        try:
            receipts = self._read()
        except MessageNotFoundError:
            if not self._receipts:
                raise
            # Raven deletes no message that is younger than the grace, or that a program waits for at a doorbell.
            raise MessageNotFoundError(
                f"message #{self._message_id} was deleted during the wait: it was finished, and whether it was "
                f"{self._state} is not known"
            ) from None
        self._receipts = receipts
        ended = [receipt for receipt in receipts if receipt.cannot_reach(self._state)]
        if ended:
            reasons = "; ".join(
                f"{one.recipient}: {one.state}" + (f", {one.reason}" if one.reason else "") for one in ended
            )
            raise UndeliveredError(f"message #{self._message_id} will not be {self._state}: {reasons}")
        return receipts if all(receipt.reached(self._state) for receipt in receipts) else None

    def next_due_s(self) -> float | None:
        """Return the seconds until the next lease, delay or expiry, which rings no doorbell; None if there is none."""
        now = clock.now()
        # A leased delivery expires only when its lease ends, and one that another host has when that host tells it.
        ends = [one.ready_at for one in self._receipts] + [
            one.expires_at for one in self._receipts if not (one.leased or one.host or one.state in FINAL)
        ]
        return min(
            (max(_SHORTEST_PAUSE_S, moment.timestamp() - now / 1e6) for moment in ends if moment is not None),
            default=None,
        )

    def timeout_error(self, timeout_s: float) -> WaitTimeoutError:
        """Return the error that names the recipients which had not reached the state at the last poll."""
        missing = [receipt.recipient for receipt in self._receipts if not receipt.reached(self._state)]
        return WaitTimeoutError(
            f"message #{self._message_id} was not {self._state} within {timeout_s:g} s by "
            f"{', '.join(missing[:5])}{', ...' if len(missing) > 5 else ''}"
        )


class ReceiptWait:
    """Waits until all deliveries of a message have reached a state; woken by doorbell, with a poll each second."""

    def __init__(self, handle: Handle, message_id: int, state: State, timeout_s: float | None) -> None:
        self._poller = ReceiptPoller(lambda: receipts(handle.store, handle.doorbells, message_id), message_id, state)
        self._deadline = deadline_after(timeout_s)
        self._store = handle.store
        self._store.refuse_in_transaction("wait for receipts")
        self._timeout_s = timeout_s
        self._due_s: float | None = None
        self._waiter = Waiter(handle, receipt_address(message_id), 1.0, delay_watch=True)

    def wait(self) -> list[Receipt]:
        """Block until then; raises UndeliveredError if one delivery never can, or WaitTimeoutError."""
        raise_on_sigterm()
        reached = self._first_poll()
        if reached is None:
            with self._waiter:
                while (reached := self._poll()) is None:
                    self._waiter.wait(self._due_s)
        return reached

    async def wait_async(self) -> list[Receipt]:
        """Do as `wait` does, without blocking the event loop."""
        raise_on_sigterm()
        self._waiter.may_wait = False
        reached = await self._poll_async(self._first_poll)
        if reached is None:
            with self._waiter:
                while (reached := await self._poll_async(self._poll)) is None:
                    await self._waiter.wait_async(self._due_s)
        return reached

    async def _poll_async(self, poll: Callable[[], list[Receipt] | None]) -> list[Receipt] | None:
        try:
            return await retry_when_busy(self._store, poll, remaining_s(self._deadline))
        except BusyError:
            if self._timeout_s is not None and remaining_s(self._deadline) == 0:
                raise self._poller.timeout_error(self._timeout_s) from None
            self._due_s = _SHORTEST_PAUSE_S
            return None

    def _first_poll(self) -> list[Receipt] | None:
        self._store.verify()
        return self._poll()

    def _poll(self) -> list[Receipt] | None:
        """Return the receipts if all have reached the state; else set `_due_s`, the seconds until the next poll."""
        reached = self._poller.poll()
        if reached is not None:
            return reached
        left = remaining_s(self._deadline)
        if left == 0 and self._timeout_s is not None:
            raise self._poller.timeout_error(self._timeout_s)
        self._due_s = min((pause for pause in (self._poller.next_due_s(), left) if pause is not None), default=None)
        return None


def _rows(store: Store, message_id: int, scope: str | None) -> list[Any]:
    name = "receipts_of" if scope is None else "scoped_receipts_of"
    rows = store.rows(name, {"message_id": message_id, "recipient": None, "scope": scope})
    if not rows and not store.rows("get_message", {"message_id": message_id}):
        raise MessageNotFoundError(f"there is no message #{message_id}: it was never sent, or it was pruned")
    return rows


def receipt_of(row: Sequence[Any], now: int) -> Receipt:
    """Return the receipt of a delivery from its columns, as `receipts_of` reads them, at a time in microseconds.

    With 0 it shows what the columns say: no timer that was due at a later time counts.
    """
    recipient, state, attempts, max_attempts, ready_at, lease, delivered_at, finished_at, expires_at, reason, host = row
    is_open = state < 2
    is_timed = is_open and ready_at > now
    is_expired = is_open and expires_at is not None and expires_at <= now and not (is_timed and lease is not None)
    is_timed = is_timed and ready_at != HELD_UNTIL  # no timer ends a hold
    return Receipt(  # by position, which takes half as long as by name
        recipient,
        "expired" if is_expired else STATES[state],
        attempts,
        max_attempts,
        is_timed and lease is not None,
        clock.from_micros(ready_at) if is_timed else None,
        None if delivered_at is None else clock.from_micros(delivered_at),
        None if finished_at is None else clock.from_micros(finished_at),
        None if expires_at is None else clock.from_micros(expires_at),
        reason,
        host,
    )
