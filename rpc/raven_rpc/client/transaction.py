"""Transaction: calls that are kept, and done by the helper in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self

import raven
from raven import InputError, Message
from raven_rpc.client import calls
from raven_rpc.client.calls import Call
from raven_rpc.client.connection import shaped

if TYPE_CHECKING:
    from raven_rpc.client.client import Client

_CAN = "send, send_many, reply, ack, nack, extend"


class Transaction:
    """What `Client.transaction` returns: its calls are checked at once, and done when the block ends: all or none.

    An exception that leaves the block sends nothing. After it `results` has what each call returned, in their order.
    """

    def __init__(self, client: Client) -> None:
        self.results: list[Any] = []
        self._client = client
        self._calls: list[Call[Any]] = []
        self._finished: list[int] = []
        self._is_open = False

    def send(self, to: str | Sequence[str], type: str, body: Any = None, **options: Any) -> None:
        """Send one message, as `Client.send` does."""
        self._keep(calls.send(self._client._address, to, type, body, options))

    def send_many(self, messages: Sequence[Mapping[str, Any]]) -> None:
        """Send many messages, as `Client.send_many` does."""
        self._keep(calls.send_many(self._client._address, messages))

    def reply(self, msg: Message | int, type: str, body: Any = None, **options: Any) -> None:
        """Answer a message, as `Client.reply` does."""
        self._keep(calls.reply(self._client._address, msg, type, body, options))

    def ack(self, id: int, *, lease: int | None = None) -> None:
        """Finish this address's delivery of a message, as `Client.ack` does."""
        self._keep(calls.ack(self._client._address, id, self._client._lease_of(id, lease)))
        self._finished.append(id)

    def nack(self, id: int, delay_s: float = 0, reason: str | None = None, *, lease: int | None = None) -> None:
        """Give a message back, as `Client.nack` does."""
        lease = self._client._lease_of(id, lease)
        self._keep(calls.nack(self._client._address, id, delay_s, reason, lease))
        self._finished.append(id)

    def extend(self, id: int, lease_s: float = 30.0, *, lease: int | None = None) -> None:
        """Let the lease of a message end `lease_s` seconds from the end of the block, as `Client.extend` does."""
        self._keep(calls.extend(self._client._address, id, lease_s, self._client._lease_of(id, lease)))

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("_") or not hasattr(raven.BusClient, name):
            raise AttributeError(f"'Transaction' object has no attribute {name!r}")
        raise InputError(
            f"{name} is not possible in a transaction through the helper, whose calls are done at its end: use {_CAN}; "
            "or a BusClient where the file is"
        )

    def __enter__(self) -> Self:
        if self._is_open or self._calls:
            raise InputError("a transaction is entered once: make another")
        self._client.check_open()
        self._is_open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_open = False
        if error is None and self._calls:
            self.results = self._client._do(Call("transaction", {"calls": self._shapes()}, self._read))
            for id in self._finished:
                self._client._holdings.forget(id)

    def _keep(self, call: Call[Any]) -> None:
        if not self._is_open:
            raise InputError(f"the transaction is over, or was not entered: {call.method} belongs into its block")
        self._calls.append(call)

    def _shapes(self) -> list[dict[str, Any]]:
        return [{"method": call.method, "params": call.params} for call in self._calls]

    def _read(self, result: Any) -> list[Any]:
        return [shaped(call.read, found) for call, found in zip(self._calls, result["results"], strict=True)]
