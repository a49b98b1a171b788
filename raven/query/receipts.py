"""Receipts: how far each delivery of a message has come, now or once it has come far enough."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, get_args

from raven.delivery import expiry
from raven.errors import DatabaseError, InputError, MessageNotFoundError, UndeliveredError, WaitTimeoutError
from raven.model import clock
from raven.model.clock import deadline_after, remaining_s
from raven.model.lifecycle import FINAL
from raven.model.message import STATES, State
from raven.model.status import Receipt
from raven.store.database import Store
from raven.wake.doorbell import Doorbells, receipt_address
from raven.wake.handle import Handle
from raven.wake.sigterm import raise_on_sigterm
from raven.wake.waiter import Waiter

# What should be over already is settled by somebody else just now: look again, but not at once.
_SHORTEST_PAUSE_S = 0.005


def receipts(store: Store, doorbells: Doorbells, message_id: int) -> list[Receipt]:
    """Return the receipts of a message, in the order of its recipients; MessageNotFoundError where there is none."""
    rows = _rows(store, message_id)
    now = clock.now()
    if any(row[1] < 2 and (0 < row[4] <= now or (row[8] or now + 1) <= now) for row in rows):
        # Where nothing can be written just now, what time has brought is put into effect a little later.
        with suppress(DatabaseError), store.no_wait():
            expiry.apply_due(store, doorbells.ring)
        rows = _rows(store, message_id)
    return [_receipt(row, now) for row in rows]


class ReceiptPoller:
    """Sees whether all deliveries of a message have come as far as a state; for an event loop of your own.

    `read` returns the receipts of the message. `poll` at once, then when a `listener` for them is rung, when `due_s()`
    is over, and at every tick.
    """

    def __init__(self, read: Callable[[], list[Receipt]], message_id: int, state: State = "acked") -> None:
        if state not in get_args(State):
            raise InputError(f"state {state!r} is not known: use {', '.join(STATES)}")
        self._read = read
        self._message_id = message_id
        self._state: State = state
        self._receipts: list[Receipt] = []

    def poll(self) -> list[Receipt] | None:
        """Return the receipts if they have come so far; raises UndeliveredError where that will never be."""
        receipts = self._receipts = self._read()
        ended = [receipt for receipt in receipts if receipt.cannot_reach(self._state)]
        if ended:
            reasons = "; ".join(
                f"{one.recipient}: {one.state}" + (f", {one.reason}" if one.reason else "") for one in ended
            )
            raise UndeliveredError(f"message #{self._message_id} will not be {self._state}: {reasons}")
        return receipts if all(receipt.reached(self._state) for receipt in receipts) else None

    def due_s(self) -> float | None:
        """Return in how many seconds a lease, a delay or a life ends, so that there may be news unrung, or None."""
        now = clock.now()
        # What is leased outlives its time: then the end of the lease counts.
        ends = [one.ready_at for one in self._receipts] + [
            one.expires_at for one in self._receipts if not (one.leased or one.state in FINAL)
        ]
        return min(
            (max(_SHORTEST_PAUSE_S, moment.timestamp() - now / 1e6) for moment in ends if moment is not None),
            default=None,
        )

    def timeout_error(self, timeout_s: float) -> WaitTimeoutError:
        """Return the error for what was not so far in time, as the last look has shown it."""
        missing = [receipt.recipient for receipt in self._receipts if not receipt.reached(self._state)]
        return WaitTimeoutError(
            f"message #{self._message_id} was not {self._state} within {timeout_s:g} s by "
            f"{', '.join(missing[:5])}{', ...' if len(missing) > 5 else ''}"
        )


class ReceiptWait:
    """Waits until all deliveries of a message have come as far as a state; pushed, with a look each second."""

    def __init__(self, handle: Handle, message_id: int, state: State, timeout_s: float | None) -> None:
        self._poller = ReceiptPoller(lambda: receipts(handle.store, handle.doorbells, message_id), message_id, state)
        self._deadline = deadline_after(timeout_s)
        handle.store.refuse_in_transaction("wait for receipts")
        self._timeout_s = timeout_s
        self._due_s: float | None = None
        self._waiter = Waiter(handle, receipt_address(message_id), 1.0, delay_watch=True)

    def wait(self) -> list[Receipt]:
        """Block until then; raises UndeliveredError where it will never come, or WaitTimeoutError."""
        raise_on_sigterm()
        reached = self._poll()
        if reached is None:
            with self._waiter:
                while (reached := self._poll()) is None:
                    self._waiter.wait(self._due_s)
        return reached

    async def wait_async(self) -> list[Receipt]:
        """Do as `wait` does, without blocking the event loop."""
        raise_on_sigterm()
        reached = self._poll()
        if reached is None:
            with self._waiter:
                while (reached := self._poll()) is None:
                    await self._waiter.wait_async(self._due_s)
        return reached

    def _poll(self) -> list[Receipt] | None:
        """Return the receipts if they have come so far, or note in how many seconds to look again unrung."""
        reached = self._poller.poll()
        if reached is not None:
            return reached
        left = remaining_s(self._deadline)
        if left == 0 and self._timeout_s is not None:
            raise self._poller.timeout_error(self._timeout_s)
        self._due_s = min((pause for pause in (self._poller.due_s(), left) if pause is not None), default=None)
        return None


def _rows(store: Store, message_id: int) -> list[Any]:
    rows = store.rows("receipts_of", {"message_id": message_id, "recipient": None})
    if not rows and not store.rows("get_message", {"message_id": message_id}):
        raise MessageNotFoundError(f"there is no message #{message_id}: it was never sent, or it was pruned")
    return rows


def _receipt(row: Any, now: int) -> Receipt:
    recipient, state, attempts, max_attempts, ready_at, lease, delivered_at, finished_at, expires_at, reason = row
    is_open = state < 2
    is_held = is_open and ready_at > now
    is_over = is_open and expires_at is not None and expires_at <= now and not (is_held and lease is not None)
    return Receipt(
        recipient=recipient,
        state="expired" if is_over else STATES[state],
        attempts=attempts,
        max_attempts=max_attempts,
        leased=is_held and lease is not None,
        ready_at=clock.from_micros(ready_at) if is_held else None,
        delivered_at=clock.optional_from_micros(delivered_at),
        finished_at=clock.optional_from_micros(finished_at),
        expires_at=clock.optional_from_micros(expires_at),
        reason=reason,
    )
