"""Long input: the long lines of one connection, which are parsed and dispatched in a thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from raven.errors import LimitError
from raven.host.host import Host
from raven.host.limits import Holder
from raven.host.worker import Outcome
from raven.model.body import count_values
from raven_rpc.jsonrpc import batch, messages
from raven_rpc.server.dispatch import Dispatched
from raven_rpc.server.sink import LineSink


class LongInput:
    """Works on one long line at a time, and keeps room among the LongRequests for it; meanwhile the connection waits.

    It calls `holder.process_input` when there is a place, and after each piece of work.
    """

    def __init__(self, host: Host, sink: LineSink, holder: Holder, max_request: int) -> None:
        self._host = host
        self._sink = sink
        self._holder = holder
        self._places = host.long_requests
        self._max_request = max_request
        self._most_values = host.limits.values
        self.is_working = False
        self.awaits_place = False

    def take_place(self) -> None:
        """Take a place for the rest of a line; until there is one, `awaits_place` is true."""
        self.awaits_place = not self._places.acquire(self._holder, self._max_request)

    def release(self) -> None:
        """Give the place back: the line is answered, or will be much later, or the connection has ended."""
        if not (self.is_working and self._sink.is_closed):  # else when the work ends
            self._places.release(self._holder)

    def parse(self, line: bytes, dispatch: Callable[[Any], Dispatched], done: Callable[[Any], None]) -> None:
        """Parse a line; `done` gets the dispatched request, or the elements of a batch, or the error of the line."""

        def parse() -> Any:
            count = count_values(line) if self._most_values else 0
            try:
                if count > self._most_values:
                    return self._split(line, count)
                value = messages.parse(line)
            except (messages.ParseError, LimitError) as error:
                return error
            return value if isinstance(value, list) else dispatch(value)

        self._work(parse, done)

    def _split(self, line: bytes, count: int) -> list[batch.Unparsed]:
        """Return the elements of a batch of so many values; raises LimitError for a single request, or an element."""
        if batch.is_batch(line):
            return batch.split(line, self._most_values)
        raise LimitError(
            f"a line of about {count:,} JSON values is over the limit `values` of {self._most_values:,}; "
            "nothing was done: send less at once"
        )

    def dispatch(
        self, elements: Sequence[Any], dispatch: Callable[[Any], Dispatched], done: Callable[[list[Dispatched]], None]
    ) -> None:
        """Dispatch some elements of a batch; `done` gets the result for each."""
        self._work(lambda: [dispatch(element) for element in elements], done)

    def _work(self, run: Callable[[], Any], done: Callable[[Any], None]) -> None:
        self.is_working = True

        def finish(outcome: Outcome) -> None:
            self.is_working = False
            if self._sink.is_closed:
                self._places.release(self._holder)
                return
            done(outcome.value if outcome.error is None else outcome.error)
            self._holder.process_input()

        self._host.parser.submit(run, finish)
