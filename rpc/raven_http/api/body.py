"""Body: reads the bodies of requests, and bounds the memory that long ones take over all connections."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import Receive

from raven.errors import LimitError
from raven.host.limits import ServerLimits
from raven_http.api.status import BadRequestError

# A longer body is parsed in a thread, and a longer answer is counted and written part by part.
LONG = 64 * 1024
# A body may take this many times as many bytes while it is parsed and written.
_BYTES_PER_BYTE = 8
# A client that keeps others waiting must send its body within this time, and waits itself no longer than the other.
_PATIENCE_S = 5.0
_MAX_WAIT_S = 30.0


class LongBodies:
    """The places for long bodies: a request takes one before it is read on, and keeps it until its work is done.

    There are as many places as bodies of `max_request` bytes fit into the limit `memory`, but one at least. Requests
    get them in their order.
    """

    def __init__(self, limits: ServerLimits, max_request: int) -> None:
        self._places = max(1, limits.memory // (_BYTES_PER_BYTE * max_request)) if limits.memory else 1000
        self._free = asyncio.Semaphore(self._places)
        self._waiting = 0

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold a place; raises a LimitError, which is retryable, if none becomes free in time."""
        self._waiting += 1
        try:
            async with asyncio.timeout(_MAX_WAIT_S):
                await self._free.acquire()
        except TimeoutError:
            error = LimitError(f"{self._places} other long requests are under way, which is the limit: try again")
            error.retryable = True
            raise error from None
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._free.release()

    async def read(self, start: bytes, receive: Receive) -> bytes | None:
        """Return a body that begins with `start`; None if the client has gone.

        Raises BadRequestError if it comes too slowly while others wait for the place.
        """
        parts, since = [start], time.monotonic()
        message = asyncio.ensure_future(receive())
        try:
            while True:
                done, _ = await asyncio.wait([message], timeout=_PATIENCE_S)
                if self._waiting and time.monotonic() - since > _PATIENCE_S:
                    raise BadRequestError(
                        f"a long body did not come within {_PATIENCE_S:g} s, and others wait for its place in memory: "
                        "send it faster, or put less into one request",
                        "request_timeout",
                    )
                if done:
                    part = message.result()
                    if part["type"] == "http.disconnect":
                        return None
                    parts.append(part.get("body", b""))
                    if not part.get("more_body"):
                        return b"".join(parts)
                    message = asyncio.ensure_future(receive())
        finally:
            message.cancel()


async def read_start(receive: Receive) -> tuple[bytes | None, bool]:
    """Return the first bytes of a body, None if the client has gone, and whether more of a long body follow."""
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None, False
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body, False
        if len(body) > LONG:
            return body, True
