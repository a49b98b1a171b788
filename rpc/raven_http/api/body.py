"""Body: reads the bodies of requests, and bounds the memory that long ones take over all connections."""

from __future__ import annotations

import asyncio
from typing import Self

from starlette.types import Receive

from raven.errors import LimitError
from raven.host.limits import PATIENCE_S, LongRequests
from raven_http.api.status import BadRequestError

# A longer body is parsed in a thread, and a longer answer is counted and written part by part.
LONG = 64 * 1024
# So long a request waits for room.
_MAX_WAIT_S = 30.0


class LongBody:
    """A long body: it takes room among the long requests of the host before it is read on, until its work is done."""

    def __init__(self, requests: LongRequests, max_request: int) -> None:
        self._requests = requests
        self._max_request = max_request
        self._turn = asyncio.Event()
        self._is_late = asyncio.Event()

    async def __aenter__(self) -> Self:
        """Take room; raises a LimitError, which is retryable, if there is none in time."""
        try:
            if not self._requests.acquire(self, self._max_request):
                async with asyncio.timeout(_MAX_WAIT_S):
                    await self._turn.wait()
        except BaseException as error:
            self._requests.release(self)
            if not isinstance(error, TimeoutError):
                raise
            limit = LimitError("other long requests are under way, up to the limit `memory`: try again")
            limit.retryable = True
            raise limit from None
        return self

    async def __aexit__(self, *error: object) -> None:
        """Give the room back."""
        self._requests.release(self)

    def process_input(self) -> None:
        """Go on, since there is room."""
        self._turn.set()

    def end_unfinished(self) -> None:
        """End the reading of the body, if it goes on."""
        self._is_late.set()

    async def read(self, start: bytes, receive: Receive) -> bytes | None:
        """Return the body that begins with `start`; None if the client has gone.

        Raises BadRequestError if it comes too slowly while others wait for room.
        """
        parts, late = [start], asyncio.ensure_future(self._is_late.wait())
        message = asyncio.ensure_future(receive())
        try:
            while True:
                await asyncio.wait([message, late], return_when=asyncio.FIRST_COMPLETED)
                if not message.done():
                    raise BadRequestError(
                        f"a long body did not come within {PATIENCE_S:g} s, and others wait for its place in memory: "
                        "send it faster, or put less into one request",
                        "request_timeout",
                    )
                part = message.result()
                if part["type"] == "http.disconnect":
                    return None
                parts.append(part.get("body", b""))
                if not part.get("more_body"):
                    return b"".join(parts)
                message = asyncio.ensure_future(receive())
        finally:
            message.cancel()
            late.cancel()


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
