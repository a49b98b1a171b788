"""Leases: which messages a client holds, under which lease."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress

from raven.model.message import Message

# Bounds the memory for leases of messages that are never finished; the oldest ones have ended long ago.
_MAX_REMEMBERED = 100_000


class Window:
    """The unacked messages of one loop.

    While the loop waits for one of them to be finished (`has_waiter`), `wake` is called then.
    """

    def __init__(self) -> None:
        self.ids: set[int] = set()
        self.has_waiter = False
        self.wake: Callable[[], object] = bool

    def notify(self) -> None:
        """Wake the loop if it waits."""
        has_waiter, self.has_waiter = self.has_waiter, False
        if has_waiter:
            self.wake()


class LeaseTracker:
    """The leases of one client, so that `ack(id)` is refused after the lease has passed to another consumer.

    It takes no lock, because finalizers and signal handlers may call it at any moment. Each step is atomic by itself.
    """

    def __init__(self) -> None:
        self._leases: dict[int, int] = {}
        self._windows: dict[int, Window] = {}

    def open_window(self, token: int) -> Window:
        """Return a new window that follows the messages leased under `token`."""
        window = self._windows[token] = Window()
        return window

    def close_window(self, token: int) -> None:
        """Forget the window of a lease and all its messages."""
        window = self._windows.pop(token, Window())
        for message_id in window.ids.copy():
            if self._leases.get(message_id) == token:
                self._leases.pop(message_id, None)

    def remember(self, messages: Iterable[Message]) -> None:
        """Remember the leases of claimed messages."""
        for message in messages:
            if message.lease is None:
                continue
            if self._windows:
                self._leave_window(message.id)
            self._leases[message.id] = message.lease
            window = self._windows.get(message.lease)
            if window is not None:
                window.ids.add(message.id)
        while len(self._leases) > _MAX_REMEMBERED:
            with suppress(RuntimeError, StopIteration):  # another thread changes the dict at this moment
                self._leases.pop(next(iter(self._leases)), None)

    def restore(self, before: Mapping[int, int | None]) -> None:
        """Undo `remember` after a rollback; `before` has the previous lease of each message."""
        for message_id, token in before.items():
            self._leave_window(message_id)
            if token is None:
                self._leases.pop(message_id, None)
            else:
                self._leases[message_id] = token

    def lease_of(self, message_id: int) -> int | None:
        """Return the token of the lease under which this client claimed a message; None if it has not claimed it."""
        return self._leases.get(message_id)

    def forget(self, message_id: int, token: int | None = None) -> None:
        """Forget a message that was finished or released, and wake a loop that waits for that.

        Given a `token`, it ignores a message that was claimed again under another lease.
        """
        if token is not None and self._leases.get(message_id) != token:
            return
        if self._windows:
            self._leave_window(message_id)
        self._leases.pop(message_id, None)

    @contextmanager
    def ending(self, leases: Iterable[tuple[int, int | None]]) -> Iterator[None]:
        """Forget the leases of messages while a block lets a server end them; know them again if the block fails.

        They are forgotten first: the same message may come again under the same lease before the answer is read.
        """
        known = [(message_id, token) for message_id, token in leases if token and self.lease_of(message_id) == token]
        try:
            for message_id, token in known:
                self.forget(message_id, token)
            yield
        except BaseException:
            for message_id, token in known:
                self._leases.setdefault(message_id, token)
            raise

    def mark_lost(self, message_id: int, token: int | None = None) -> None:
        """Take a message out of its window but keep its lost lease, which an ack must still report.

        Wakes a loop that waits for that. Given a `token`, it ignores a message that was claimed again.
        """
        if token is None or self._leases.get(message_id) == token:
            self._leave_window(message_id)

    def _leave_window(self, message_id: int) -> None:
        token = self._leases.get(message_id)
        window = None if token is None else self._windows.get(token)
        if window is not None:
            window.ids.discard(message_id)
            window.notify()
