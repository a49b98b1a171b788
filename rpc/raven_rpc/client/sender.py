"""Sender: what one address sends, asks and answers through a helper's socket."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from raven import Message, Report, Urgency
from raven_rpc.client import calls
from raven_rpc.client.calls import Call
from raven_rpc.client.connection import shaped
from raven_rpc.client.long_call import LongCall
from raven_rpc.client.observer import Observer

_T = TypeVar("_T")


class Sender(Observer):
    """The half of a Client that sends; everything that an Observer can do, too."""

    @property
    def address(self) -> str | None:
        """This client's own address; that of a bound socket where none was given."""
        if self._address is None:
            self._address = shaped(lambda result: result["as"], self._call("hello"))
        return self._address

    def send(
        self,
        to: str | Sequence[str],
        type: str,
        body: Any = None,
        *,
        urgency: Urgency = "prompt",
        tags: Sequence[str] = (),
        correlation_id: str | int | None = None,
        reply_to: int | None = None,
        task_id: str | int | None = None,
        expires_in_s: float | None = None,
        delay_s: float | None = None,
        dedup_key: str | None = None,
        report: Report | None = None,
        max_attempts: int | None = None,
    ) -> Message:
        """Send one message, as `BusClient.send` does; LostError where it is not known whether it was sent."""
        options = {
            "urgency": urgency,
            "tags": tags,
            "correlation_id": correlation_id,
            "reply_to": reply_to,
            "task_id": task_id,
            "expires_in_s": expires_in_s,
            "delay_s": delay_s,
            "dedup_key": dedup_key,
            "report": report,
            "max_attempts": max_attempts,
        }
        return self._do(calls.send(self._address, to, type, body, options))

    def send_many(self, messages: Sequence[Mapping[str, Any]]) -> list[Message]:
        """Send many messages, dicts of `send`'s parameters, in one transaction: all of them or none."""
        return self._do(calls.send_many(self._address, messages))

    def reply(self, msg: Message | int, type: str, body: Any = None, **options: Any) -> Message:
        """Answer a message, given itself or by its id, as `BusClient.reply` does; `options` are those of `send`.

        ExpiredError where nobody waits for the answer any more; LostError as from `send`.
        """
        return self._do(calls.reply(self._address, msg, type, body, options))

    def request(
        self, to: str | Sequence[str], type: str, body: Any = None, *, timeout_s: float = 30.0, **options: Any
    ) -> Message:
        """Send a message, wait for the answer that `reply` gives to it, and return that, acked.

        It waits over a connection of its own. `options` are those of `send`. Raises WaitTimeoutError after `timeout_s`
        seconds. Then, or when the connection ends (LostError, or ClosedError where this client was closed), nobody
        begins with the request any more.
        """
        call = calls.request(self._address, to, type, body, timeout_s, options)
        return shaped(call.read, LongCall(self, call.method, call.params, timeout_s).ask())

    async def request_async(
        self, to: str | Sequence[str], type: str, body: Any = None, *, timeout_s: float = 30.0, **options: Any
    ) -> Message:
        """Do as `request` does, without blocking the event loop; a cancelled task ends the request, too."""
        call = calls.request(self._address, to, type, body, timeout_s, options)
        return shaped(call.read, await LongCall(self, call.method, call.params, timeout_s).ask_async())

    def _do(self, call: Call[_T]) -> _T:
        return shaped(call.read, self.persist(lambda: self._ask(call.method, call.params), lost_too=call.again))
