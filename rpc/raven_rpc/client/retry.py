"""Link: the ways of one client to its helper: connections, how long it tries again, and how all of it ends."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar
from weakref import WeakValueDictionary

from raven import ClosedError, InputError, LimitError, LostError, UnreachableError
from raven_rpc.client.connection import Wire

_T = TypeVar("_T")
_FIRST_PAUSE_S = 0.02
_LONGEST_PAUSE_S = 1.0


class Closable(Protocol):
    """What ends with its client: a connection, or a loop."""

    def close(self) -> None:
        """End it, from any thread."""


class Link:
    """What a Client stands on; any thread may use it."""

    def __init__(
        self, socket_path: str, address: str | None = None, *, timeout_s: float = 30.0, patience_s: float = 5.0
    ) -> None:
        self._path = str(socket_path)
        self._address = address
        self.timeout_s = timeout_s
        self.patience_s = patience_s
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._wire: Wire | None = None
        # By their own ids, weakly: a loop that is dropped ends by itself.
        self._open: WeakValueDictionary[int, Closable] = WeakValueDictionary()
        self._is_closed = False

    @property
    def db_path(self) -> str:
        """Where the bus is reached: the path of the socket."""
        return self._path

    def call(self, method: str, params: Mapping[str, Any] | Sequence[Any] = ()) -> Any:
        """Call any method of the helper, with parameters by name or by position, and return its result as JSON."""
        given = dict(params) if isinstance(params, Mapping) else list(params)
        return self.persist(lambda: self._ask(method, given), lost_too=False)

    def close(self) -> None:
        """Close the connections: calls raise ClosedError from now on, those of other threads that wait now, too.

        Loops in other threads end. Twice is allowed.
        """
        self._is_closed = True
        # A copy made in one step: other threads may be adding theirs, which then see that this is closed.
        for reference in self._open.valuerefs():
            found = reference()
            if found is not None:
                found.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # What loops and long calls use

    def connect(self) -> Wire:
        """Return a new connection; raises UnreachableError, or ClosedError when this client was closed."""
        self.check_open()
        wire = Wire(self._path, self.timeout_s)
        self.keep(wire)
        self.check_open()
        return wire

    def keep(self, part: Closable) -> None:
        """Close a part when this is closed; at once, if it is already."""
        self._open[id(part)] = part
        if self._is_closed:
            part.close()

    def check_open(self) -> None:
        """Raise ClosedError when this client was closed."""
        if self._is_closed:
            raise ClosedError(f"the client of {self._path} is closed: make a new one")

    def persist(self, step: Callable[[], _T], *, lost_too: bool, at_most_s: float | None = None) -> _T:
        """Take a step again while the helper cannot be reached, or is full, for up to `patience_s` or `at_most_s`."""
        patience = Patience(self, lost_too=lost_too, at_most_s=at_most_s)
        while True:
            try:
                return step()
            except (UnreachableError, LostError, LimitError) as error:
                pause_s = patience.pause_s(error)
            time.sleep(pause_s)

    def _call(self, method: str, /, *, retry: bool = True, **params: Any) -> Any:
        """Call a method; parameters that are None are left out. With `retry` it may be asked twice."""
        given = given_of(params)
        return self.persist(lambda: self._ask(method, given), lost_too=retry)

    def _ask(self, method: str, params: dict[str, Any] | list[Any]) -> Any:
        if self._pid != os.getpid():  # a forked child: the lock may be held by a thread that is not here
            self._pid, self._lock = os.getpid(), threading.Lock()
        with self._lock:
            if self._wire is None or self._wire.is_dead():
                if self._wire is not None:
                    self._wire.close()
                self._wire = self.connect()
            return self._wire.ask(method, params)


class Patience:
    """How long, and with which growing pauses, to try again what failed since the helper could not be reached.

    Or since it was full: a limit of all its clients together passes, and nothing was done.
    """

    def __init__(self, link: Link, *, lost_too: bool, at_most_s: float | None = None) -> None:
        self._link = link
        self._lost_too = lost_too
        self.limit_s = link.patience_s if at_most_s is None else min(at_most_s, link.patience_s)
        self._give_up_at = time.monotonic() + self.limit_s
        self._pause_s = _FIRST_PAUSE_S

    def pause_s(self, error: UnreachableError | LostError | LimitError) -> float:
        """Return how long to pause before the next attempt; raises the error instead where there is to be none."""
        self._link.check_open()
        left = self._give_up_at - time.monotonic()
        is_final = isinstance(error, LimitError) and not error.retryable
        if left <= 0 or is_final or (isinstance(error, LostError) and not self._lost_too):
            raise error
        pause_s, self._pause_s = self._pause_s, min(2 * self._pause_s, _LONGEST_PAUSE_S)
        return min(pause_s, left)


def given_of(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that are not None, by their names on the wire; InputError for what JSON has no number for.

    A name that is a word of Python's ends with an underscore here.
    """
    for name, value in params.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"{name} {value!r} is not a number that JSON has: use a finite one")
    return {name.rstrip("_"): value for name, value in params.items() if value is not None}
