"""Transaction: collects calls, which the server then makes in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, NoReturn, Self, Unpack

from raven.errors import InputError
from raven.model.leases import LeaseTracker
from raven.model.message import Message
from raven.model.new_message import SendOptions
from raven_rpc.client import calls
from raven_rpc.client.calls import Call
from raven_rpc.client.exchange import decode_as
from raven_rpc.client.transport import Transport

_CAN = "send, send_many, reply, ack, nack, extend, claim"


class Transaction:
    """The transaction of `Client.transaction`: checks each call at once, and sends all at the end of the block.

    After an exception in the block nothing is sent. After the block `results` has the results of the calls, in their
    order. If the server refuses a call, nothing is done, and the error has the number of the call, from 0, in `call`.
    """

    def __init__(self, transport: Transport, leases: LeaseTracker, address: str | None, outside: type) -> None:
        self.results: list[Any] = []
        self._outside = outside  # the class whose methods cannot all be part of a transaction
        self._transport = transport
        self._leases = leases
        self._address = address
        self._calls: list[Call[Any]] = []
        self._finished: list[Call[Any]] = []  # the calls that end a lease
        self._claims: list[int] = []  # indexes of the calls whose leases are remembered
        self._is_open = False

    def send(
        self,
        to: str | Sequence[str],
        type: str,
        body: Any = None,
        **options: Unpack[SendOptions],
    ) -> None:
        """Send one message, as `Client.send` does."""
        self._keep(calls.send(self._address, to, type, body, options))

    def send_many(self, messages: Sequence[Mapping[str, Any]]) -> None:
        """Send many messages, as `Client.send_many` does."""
        self._keep(calls.send_many(self._address, messages))

    def reply(self, msg: Message | int, type: str, body: Any = None, **options: Any) -> None:
        """Reply to a message, as `Client.reply` does."""
        self._keep(calls.reply(self._address, msg, type, body, options))

    def claim(self, max: int = 1, lease_s: float = 30.0, *, remember: bool = True) -> None:
        """Claim messages, as `Client.claim` does; the client remembers their leases once the block has ended."""
        self._keep(calls.claim(self._address, max, lease_s))
        if remember:
            self._claims.append(len(self._calls) - 1)

    def ack(self, id: int, *, lease: int | None = None) -> None:
        """Finish this address's delivery of a message, as `Client.ack` does."""
        self._keep(calls.ack(self._address, self._leases, id, lease))
        self._finished.append(self._calls[-1])

    def nack(self, id: int, delay_s: float = 0, reason: str | None = None, *, lease: int | None = None) -> None:
        """Release a message, as `Client.nack` does."""
        self._keep(calls.nack(self._address, self._leases, id, delay_s, reason, lease))
        self._finished.append(self._calls[-1])

    def extend(self, id: int, lease_s: float = 30.0, *, lease: int | None = None) -> None:
        """Let the lease of a message end `lease_s` seconds from the end of the block, as `Client.extend` does."""
        self._keep(calls.extend(self._address, self._leases, id, lease_s, lease))

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("_") or not (hasattr(self._outside, name) or name == "execute"):
            raise AttributeError(f"'Transaction' object has no attribute '{name}'")
        raise InputError(
            f"{name} is not possible in a transaction through the server, which makes its calls when the block ends: "
            f"use {_CAN}; or a BusClient on the file itself"
        )

    def __enter__(self) -> Self:
        if self._is_open or self._calls:
            raise InputError("a transaction can only be entered once: make another")
        self._transport.check_open()
        self._is_open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_open = False
        if error is None and self._calls:
            calls = [{"method": call.method, "params": call.params} for call in self._calls]
            with self._leases.ending([call.leased() for call in self._finished]):
                self.results = self._transport.do(Call("transaction", {"calls": calls}, self._read))
            for index in self._claims:
                self._leases.remember(self.results[index])

    def _keep(self, call: Call[Any]) -> None:
        if not self._is_open:
            raise InputError(f"the transaction is over, or was not entered: call {call.method} inside its block")
        self._calls.append(call)

    def _read(self, result: Any) -> list[Any]:
        return [decode_as(call.read, value) for call, value in zip(self._calls, result["results"], strict=True)]
