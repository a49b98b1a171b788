"""BusTransaction: what `BusClient.transaction` yields, several calls of one client in one commit."""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, Unpack

from raven.errors import InputError
from raven.store.atomic import Atomic

if TYPE_CHECKING:
    from raven.bus import Bus
    from raven.model.message import Message, State
    from raven.model.new_message import SendOptions
    from raven.store.database import Store

_P = ParamSpec("_P")
_T = TypeVar("_T")


class BusTransaction(Atomic):
    """All calls on it from enter to exit are one commit: an exception that leaves the block undoes all of them.

    Each call returns what the client's own method does; one that raises is undone alone. `results` has what each has
    returned, in their order. It belongs to the thread that has entered it, and another one's calls raise InputError.
    What other threads write through the client waits for its end, and is no part of it; their reads do not wait.
    """

    def __init__(self, bus: Bus, store: Store) -> None:
        super().__init__(store, _warn)
        self._bus = bus
        self.results: list[Any] = []

    @property
    def address(self) -> str | None:
        """The address of the client whose transaction this is."""
        return self._bus.address

    def send(self, to: str | Sequence[str], type: str, body: Any = None, **options: Unpack[SendOptions]) -> Message:
        """Send one message, as `BusClient.send` does; its recipients are woken after the commit."""
        return self._do(self._bus.send, to, type, body, **options)

    def send_many(self, messages: Sequence[Mapping[str, Any]]) -> list[Message]:
        """Send many messages, as `BusClient.send_many` does."""
        return self._do(self._bus.send_many, messages)

    def reply(self, msg: Message | int, type: str, body: Any = None, **options: Any) -> Message:
        """Answer a message, as `BusClient.reply` does."""
        return self._do(self._bus.reply, msg, type, body, **options)

    def claim(self, max: int = 1, lease_s: float = 30.0, *, remember: bool = True) -> list[Message]:
        """Claim messages, as `BusClient.claim` does."""
        return self._do(self._bus.claim, max, lease_s, remember=remember)

    def ack(self, id: int, *, lease: int | None = None) -> None:
        """Finish this address's delivery of a message, as `BusClient.ack` does."""
        self._do(self._bus.ack, id, lease=lease)

    def nack(self, id: int, delay_s: float = 0, reason: str | None = None, *, lease: int | None = None) -> State:
        """Give a message back, as `BusClient.nack` does."""
        return self._do(self._bus.nack, id, delay_s, reason, lease=lease)

    def extend(self, id: int, lease_s: float = 30.0, *, lease: int | None = None) -> None:
        """Let the lease of a message end `lease_s` seconds from now, as `BusClient.extend` does."""
        self._do(self._bus.extend, id, lease_s, lease=lease)

    def requeue(self, *ids: int, role: str | None = None, all: bool = False) -> int:
        """Revive dead deliveries, as `BusClient.requeue` does."""
        return self._do(self._bus.requeue, *ids, role=role, all=all)

    def purge_dead(self, role: str | None = None) -> int:
        """Drop dead deliveries, as `BusClient.purge_dead` does."""
        return self._do(self._bus.purge_dead, role)

    def register(self, *addresses: str) -> None:
        """Register addresses, as `BusClient.register` does."""
        self._do(self._bus.register, *addresses)

    def execute(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> list[tuple[Any, ...]]:
        """Run SQL of your own on tables of your own, as `BusClient.execute` does."""
        return self._do(self._store.execute, sql, params)

    def inbox(self, max: int = 100, peek: bool = False) -> list[Message]:
        """Return what is not acked, as `BusClient.inbox` does; what this transaction has written is seen."""
        return self._through(self._bus.inbox, max, peek)

    def read(self, id: int) -> Message:
        """Return one message, as `BusClient.read` does; what this transaction has written is seen."""
        return self._through(self._bus.read, id)

    def transaction(self) -> BusTransaction:
        """Return a transaction inside this one: committed with it, and undone alone."""
        return BusTransaction(self._bus, self._store)

    def _do(self, call: Callable[_P, _T], *args: _P.args, **options: _P.kwargs) -> _T:
        result = self._through(call, *args, **options)
        self.results.append(result)
        return result

    def _through(self, call: Callable[_P, _T], *args: _P.args, **options: _P.kwargs) -> _T:
        if not self._thread:
            raise InputError("the transaction is over, or was not entered: its calls belong into its block")
        if self._thread != threading.get_ident():
            raise InputError("the transaction belongs to the thread that has entered it: begin another in this one")
        self._store.on_implicit_join = None
        try:
            return call(*args, **options)
        finally:
            self._store.on_implicit_join = _warn

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Lend the client's other methods, as long as old code takes the transaction for the client."""
            if name.startswith("_"):
                raise AttributeError(f"'BusTransaction' object has no attribute {name!r}")
            found = getattr(self._bus, name)
            warnings.warn(f"a transaction has no {name}: use that of the client", DeprecationWarning, stacklevel=2)
            return found


def _warn() -> None:
    """Warn the program that it writes through a client whose transaction it is in."""
    frame, level = sys._getframe(), 1
    # What is told is the line of the program, however deep in raven the write is noticed.
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == "raven":
        frame, level = frame.f_back, level + 1
    warnings.warn(
        "this write is part of the open transaction, though it was made through the client: use the transaction's own "
        "methods, as in `with bus.transaction() as tx: tx.send(...)`",
        DeprecationWarning,
        stacklevel=level,
    )
