"""Calls: runs the work of requests on a Host, and counts them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from raven.errors import ClosedError, LimitError
from raven.host.deferred import DeferredSet
from raven.host.host import Host
from raven.host.leases import Leases
from raven.host.limits import Answers
from raven.host.subscriptions import Subscriptions
from raven.host.worker import Outcome, Worker, capture
from raven.model.body import count_values
from raven.model.message import Message
from raven_http.api.body import LONG, LongBody
from raven_http.api.rates import ClientRates
from raven_rpc.jsonrpc.messages import MAX_REQUEST, encode_result
from raven_rpc.methods.context import Context
from raven_rpc.methods.method import Work

# The answer to one request is at most so long: a write whose answer would be longer is not done.
MAX_ANSWER = 64 * 1024 * 1024


class Calls:
    """Runs the work of requests on a Host that was started; each request is a call of its own, without a memory.

    Writes of one turn of the event loop are committed together with the writes of all other ways into the bus.
    """

    def __init__(self, host: Host, bound: Sequence[str] = (), max_request: int = MAX_REQUEST) -> None:
        self.host = host
        self.answered: Counter[tuple[str, int]] = Counter()  # by route and status
        self.rates = None if host.rates is None else ClientRates(host.rates)
        self.max_request = max_request
        self._answers = host.answers
        self.count_streams: Callable[[], int] = lambda: 0
        self.count_connections: Callable[[], int] | None = None  # None if another program has the sockets
        detached = _Detached()
        self.context = Context(
            host,
            self,
            bound=bound,
            leases=_NoLeases(),
            subscriptions=Subscriptions(host, detached),
            deferred=DeferredSet(host, detached),
        )

    @property
    def description(self) -> dict[str, Any]:
        """Nothing: the document of the routes is no OpenRPC document."""
        return {}

    def stats(self) -> dict[str, Any]:
        """Return counters since the start, and the numbers of waiting requests."""
        return {
            **self.host.counters(),
            **({} if self.count_connections is None else {"connections": self.count_connections()}),
            "streams": self.count_streams(),
            "requests": self.answered.total(),
            "errors": sum(count for (_, status), count in self.answered.items() if status >= 400),
        }

    async def run(self, work: Work, owner: object) -> bytes:
        """Do the work of a request, and return its result as a line of JSON; raises its error.

        `owner` is the connection: the write of the only active one is committed at once. If the caller is cancelled,
        the work is done nevertheless. Call `release` when the line is written.
        """
        self.host.check_running()
        call = _Call(self.host, work, self._answers)
        if work.executor == "write":
            outcome = self.host.writer.try_inline(call.run, work.weight, owner)
            if outcome is not None:
                return call.finish(outcome)
        return await self._submit(call, owner)

    def long_body(self) -> LongBody:
        """Return the place of a long body, to be taken before it is read on."""
        return LongBody(self.host.long_requests, self.max_request)

    def check_values(self, body: bytes) -> None:
        """Raise LimitError if a long body holds too many JSON values to be parsed; any thread."""
        most = self.host.limits.values
        if most and len(body) > LONG and (count := count_values(body)) > most:
            raise LimitError(
                f"a body of about {count:,} JSON values is over the limit `values` of {most:,}; nothing was done: send "
                "less at once"
            )

    def release(self, text: bytes) -> None:
        """Note that a result was written, or can no longer be."""
        if len(text) > LONG:
            self._answers.add(-len(text))

    async def read(self, run: Callable[[], Any]) -> Any:
        """Call a function in the reader's thread, and return its result."""
        return await self._value_of(self.host.reader, run)

    async def examine(self, run: Callable[[], Any]) -> Any:
        """Call a function that takes long in the thread of maintenance, and return its result."""
        return await self._value_of(self.host.admin, run)

    async def parse(self, run: Callable[[], Any], *, is_long: bool) -> Any:
        """Call a function that parses a text, in the thread for long ones if it is long, and return its result."""
        return await self._value_of(self.host.parser, run) if is_long else _value(capture(run))

    async def _value_of(self, worker: Worker, run: Callable[[], Any]) -> Any:
        self.host.check_running()
        future: asyncio.Future[Outcome] = self.host.loop.create_future()
        worker.submit(run, partial(_settle, future))
        return _value(await future)

    async def _submit(self, call: _Call, owner: object) -> bytes:
        work = call.work
        if work.executor == "loop":
            return call.finish(capture(call.run))
        future: asyncio.Future[bytes] = self.host.loop.create_future()

        def done(outcome: Outcome) -> None:
            try:
                text = call.finish(outcome)
            except Exception as error:
                if not future.done():
                    future.set_exception(error)
            else:
                if future.done():
                    self.release(text)
                else:
                    future.set_result(text)

        self.host.executors[work.executor].submit(call.run, done, work.weight, owner)
        return await future


class _Call:
    """The work of one request, and its result as text once it was done."""

    __slots__ = ("_answers", "_host", "_text", "work")

    def __init__(self, host: Host, work: Work, answers: Answers) -> None:
        self.work = work
        self._host = host
        self._answers = answers
        self._text = b""

    def run(self) -> Any:
        """Do the work and encode its result; any thread. Runs again if the transaction is rolled back."""
        work = self.work
        self._drop()
        if work.executor == "write":
            admission = self._host.admission
            admission.deliveries = 0
            admission.answer_bytes = MAX_ANSWER
        if work.is_page and self._answers.held > self._answers.limit:
            raise self._answers.error()
        value = work.run()
        if not work.on_loop:
            self._encode(value)
        return value

    def finish(self, outcome: Outcome) -> bytes:
        """Return the result as text, or raise the error; on the event loop."""
        if outcome.error is not None:
            self._drop()
            raise outcome.error
        if self.work.on_success is not None:
            self.work.on_success(outcome.value)
        if not self._text:
            self._encode(outcome.value)
        return self._text

    def _encode(self, value: Any) -> None:
        self._text = encode_result(self.work.to_result(value))
        if len(self._text) > LONG:
            self._answers.add(len(self._text))

    def _drop(self) -> None:
        """Drop the result of an earlier run, which is not valid any more."""
        if len(self._text) > LONG:
            self._answers.add(-len(self._text))
        self._text = b""


def _value(outcome: Outcome) -> Any:
    if outcome.error is not None:
        raise outcome.error
    return outcome.value


def _settle(future: asyncio.Future[Outcome], outcome: Outcome) -> None:
    if not future.done():
        future.set_result(outcome)


class _NoLeases(Leases):
    """The leases of clients without a memory: each names the lease in its request."""

    def remember(self, role: str, messages: Any) -> None:
        """Remember nothing."""


class _Detached:
    """A sink without a client: a request is answered, and nothing is pushed later."""

    is_full = True

    def unsent_bytes(self) -> int:
        """Return 0."""
        return 0

    def has_room(self) -> bool:
        """Return False."""
        return False

    def encode(self, subscription: int, messages: Sequence[Message], leased_until: int | None = None) -> bytes:
        """Refuse: there is no subscription."""
        raise ClosedError("nothing is pushed to this client")

    def write(self, text: bytes, messages: Sequence[Message]) -> None:
        """Write nothing."""

    def end(self, subscription: int, reason: str, error: Exception | None = None) -> None:
        """Do nothing."""

    def on_idle(self) -> None:
        """Do nothing."""
