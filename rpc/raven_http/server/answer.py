"""Answer: the ways to write an answer besides uvicorn's: a short one in one piece, and one for HTTP/1.0."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

Message = MutableMapping[str, Any]

CLOSE = (b"connection", b"close")
# A longer answer is not copied to be written together with its head.
_SHORT = 64 * 1024


def write_whole(cycle: RequestResponseCycle, start: Message, body: bytes) -> bool:
    """Write the head and the body of a short answer in one piece; returns False if the answer is left to uvicorn.

    A system call that writes to a socket takes long, because the reader wakes up in it.
    """
    headers = start["headers"]
    if (
        (b"content-length", b"%d" % len(body)) not in headers
        or len(body) > _SHORT
        or cycle.scope["method"] == "HEAD"
        or cycle.response_started
        or cycle.disconnected
        or cycle.flow.write_paused
    ):
        return False
    if CLOSE in headers:
        cycle.keep_alive = False
    elif not cycle.keep_alive:
        headers = [*headers, CLOSE]
    head = STATUS_LINE[start["status"]] + b"".join([b"%b: %b\r\n" % header for header in headers])
    if not head.count(b"\n") == head.count(b"\r") == len(headers) + 1:
        raise RuntimeError("a header of the answer has a line break")
    cycle.waiting_for_100_continue = False
    cycle.response_started = cycle.response_complete = True
    cycle.transport.write(b"%b\r\n%b" % (head, body))
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()
    return True


async def send_unchunked(cycle: RequestResponseCycle, message: Message) -> None:
    """Send a part of an answer without chunks, which HTTP/1.0 lacks: the answer ends with the connection."""
    cycle.chunked_encoding = False
    cycle.expected_content_length = len(message.get("body", b""))
    await cycle.send(cast(Any, message))
