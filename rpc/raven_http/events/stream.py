"""Stream: the ASGI program of `GET /events`, which answers with server-sent events.

The format is that of https://html.spec.whatwg.org/multipage/server-sent-events.html.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from starlette.types import Receive, Scope, Send

from raven.errors import InputError, RavenError
from raven_http.events.filter import read_query
from raven_http.events.hub import Hub
from raven_http.events.position import Start, parse
from raven_http.events.viewer import Viewer

_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]
_LONG = 16 * 1024
_RETRY = b"retry: 1000\n\n"


class EventsEndpoint:
    """Answers with the event stream that a request asks for, until the client goes or the hub stops.

    `read` returns the values of each parameter in a request's query. `refuse` answers with an error instead.
    """

    def __init__(
        self,
        hub: Hub,
        read: Callable[[Scope], Mapping[str, Sequence[str]]],
        refuse: Callable[[Send, RavenError], Awaitable[None]],
    ) -> None:
        self._hub = hub
        self._read = read
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            viewer = self._viewer(scope)
            if scope["method"] != "HEAD":
                self._hub.add(viewer)
        except RavenError as error:
            await self._refuse(send, error)
            return
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b""})
            return
        leaving = asyncio.ensure_future(_leave(viewer, receive))
        try:
            await _write(viewer, send)
        finally:
            leaving.cancel()
            viewer.close()
            self._hub.remove(viewer)

    def _viewer(self, scope: Scope) -> Viewer:
        filter, start = read_query(self._read(scope))
        refused = ""
        # A browser that connects again sends the header, and cannot show a refusal.
        for name, value in scope["headers"]:
            if name == b"last-event-id" and value:
                try:
                    start = parse(value.decode("latin-1"))
                except InputError as error:
                    start, refused = Start(), str(error)
        return Viewer(self._hub, filter, start, refused)


async def _write(viewer: Viewer, send: Send) -> None:
    """Write the stream as fast as the client reads, until it ends."""
    task: asyncio.Task[None] = asyncio.current_task()  # type: ignore[assignment]
    viewer.interrupt = task.cancel
    try:
        piece: bytes | None = _RETRY
        while piece is not None:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            if len(piece) > _LONG:
                # The server waits for the client before it takes a part, and not after it.
                await send({"type": "http.response.body", "body": b"", "more_body": True})
            piece = await viewer.next()
    except asyncio.CancelledError:
        # Of a stalled stream, or of all when a server ends that does not know the hub: the stream ends with its task.
        if task.cancelling() > 1 or viewer.is_stalled:
            return
    await send({"type": "http.response.body", "body": b""})


async def _leave(viewer: Viewer, receive: Receive) -> None:
    """End the stream when its client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
    viewer.end()
