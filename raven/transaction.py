"""BusTransaction: several calls of one client in one commit, as `BusClient.transaction` yields it."""

from __future__ import annotations

import sys
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
    """Commits all its calls in one transaction; an exception that leaves the block rolls back all of them.

    Each call returns the value of the client's own method; a call that raises is rolled back alone. `results` has the
    returned values in order. The transaction belongs to the thread and the asyncio task that entered it: calls of
    others raise InputError. Other threads' writes through the client wait until the block ends, and are not part of
    the transaction; their reads do not wait. Other tasks' writes in the same thread raise InputError: do not await
    inside the block.
    """

    def __init__(self, bus: Bus, store: Store) -> None:
        super().__init__(store, _warn)
        self._bus = bus
        self.results: list[Any] = []

    @property
    def address(self) -> str | None:
        """The address of the client that this transaction belongs to."""
        return self._bus.address

    def send(self, to: str | Sequence[str], type: str, body: Any = None, **options: Unpack[SendOptions]) -> Message:
        """Send one message, as `BusClient.send` does; its recipients are woken after the commit."""
        return self._do(self._bus.send, to, type, body, **options)

    def send_many(self, messages: Sequence[Mapping[str, Any]]) -> list[Message]:
        """Send many messages, as `BusClient.send_many` does."""
        return self._do(self._bus.send_many, messages)

    def reply(self, msg: Message | int, type: str, body: Any = None, **options: Any) -> Message:
        """Reply to a message, as `BusClient.reply` does."""
        return self._do(self._bus.reply, msg, type, body, **options)

    def claim(self, max: int = 1, lease_s: float = 30.0, *, remember: bool = True) -> list[Message]:
        """Claim messages, as `BusClient.claim` does."""
        return self._do(self._bus.claim, max, lease_s, remember=remember)

    def ack(self, id: int, *, lease: int | None = None) -> None:
        """Finish this address's delivery of a message, as `BusClient.ack` does."""
        self._do(self._bus.ack, id, lease=lease)

    def nack(self, id: int, delay_s: float = 0, reason: str | None = None, *, lease: int | None = None) -> State:
        """Release a message, as `BusClient.nack` does."""
        return self._do(self._bus.nack, id, delay_s, reason, lease=lease)

    def extend(self, id: int, lease_s: float = 30.0, *, lease: int | None = None) -> None:
        """Let the lease of a message end `lease_s` seconds from now, as `BusClient.extend` does."""
        self._do(self._bus.extend, id, lease_s, lease=lease)

    def requeue(self, *ids: int, role: str | None = None, all: bool = False) -> int:
        """Make dead letters ready again, as `BusClient.requeue` does."""
        return self._do(self._bus.requeue, *ids, role=role, all=all)

    def purge_dead(self, role: str | None = None) -> int:
        """Drop dead letters, as `BusClient.purge_dead` does."""
        return self._do(self._bus.purge_dead, role)

    def register(self, *addresses: str) -> None:
        """Register addresses, as `BusClient.register` does."""
        self._do(self._bus.register, *addresses)

    def execute(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> list[tuple[Any, ...]]:
        """Run your own SQL on your own tables, as `BusClient.execute` does."""
        return self._do(self._store.execute, sql, params)

    def inbox(self, max: int = 100, peek: bool = False) -> list[Message]:
        """Return the unacked messages, as `BusClient.inbox` does, with the writes of this transaction."""
        return self._through(self._bus.inbox, max, peek)

    def read(self, id: int) -> Message:
        """Return one message, as `BusClient.read` does, with the writes of this transaction."""
        return self._through(self._bus.read, id)

    def transaction(self) -> BusTransaction:
        """Return a nested transaction: it commits with this one, and can roll back alone."""
        return BusTransaction(self._bus, self._store)

    def _do(self, call: Callable[_P, _T], *args: _P.args, **options: _P.kwargs) -> _T:
        result = self._through(call, *args, **options)
        self.results.append(result)
        return result

    def _through(self, call: Callable[_P, _T], *args: _P.args, **options: _P.kwargs) -> _T:
        block = self._block
        if block is None or not block.is_open:
            raise InputError("the transaction has ended, or was not entered: call it inside its `with` block")
        if not block.is_of_thread(self._store.this_thread()):
            raise InputError("the transaction belongs to the thread that entered it: begin another one in this thread")
        if not block.is_of_task(self._store.this_thread()):
            raise InputError("the transaction belongs to the task that entered it: begin another one in this task")
        innermost = self._store.block or block
        innermost.is_joined = True
        try:
            return call(*args, **options)
        finally:
            innermost.is_joined = False

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Return another attribute of the client, with a DeprecationWarning: old code uses `tx` as the client."""
            if name.startswith("_"):
                raise AttributeError(f"'BusTransaction' object has no attribute '{name}'")
            attribute = getattr(self._bus, name)
            warnings.warn(f"a transaction has no {name}: use that of the client", DeprecationWarning, stacklevel=2)
            return attribute


def _warn() -> None:
    """Warn the program that it writes through the client inside a transaction of that client."""
    frame, level = sys._getframe(), 1
    # The warning names the line of the program, at any depth of calls inside raven.
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == "raven":
        frame, level = frame.f_back, level + 1
    warnings.warn(
        "this write goes through the client, but is part of the open transaction: use the transaction's own "
        "methods, as in `with bus.transaction() as tx: tx.send(...)`",
        DeprecationWarning,
        stacklevel=level,
    )
