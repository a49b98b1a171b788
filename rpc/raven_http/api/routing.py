"""Routing: one ASGI program over all routes, which finds the endpoint of a request."""

from __future__ import annotations

import os
from collections.abc import Sequence

from starlette.routing import BaseRoute, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from raven.errors import abbreviate
from raven.model.version import __version__
from raven_http.api import status
from raven_http.api.calls import Calls
from raven_http.api.endpoint import MethodEndpoint, TextEndpoint, respond
from raven_http.api.table import ROUTES
from raven_rpc.jsonrpc.messages import encode


class JsonRoute(Route):
    """A route that refuses other methods in JSON. GET includes HEAD."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request to this path."""
        if self.methods and scope["method"] not in self.methods:
            allowed = ", ".join(sorted(self.methods))
            detail = f"the method {abbreviate(scope['method'])} is not allowed here: use {allowed}"
            await respond(send, status.refusal("method_not_allowed", detail, (("allow", allowed),)))
        else:
            await self.app(scope, receive, send)


def make_router(calls: Calls, others: Sequence[BaseRoute] = ()) -> ASGIApp:
    """Return the program that answers requests: the routes of the API, then `others`."""

    async def health() -> bytes:
        await calls.read(calls.host.reader_bus.data_version)
        name = os.path.basename(calls.host.db_path)
        return encode({"status": "ok", "db": name, "version": __version__})

    return Router(
        [
            *(JsonRoute(route.path, MethodEndpoint(route, calls), methods=[route.verb]) for route in ROUTES),
            JsonRoute("/health", TextEndpoint("/health", calls, health)),
            *others,
        ],
        redirect_slashes=False,
        default=_not_found,
    )


async def _not_found(scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse a path without a route."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1000})
    else:
        detail = f"there is no route {abbreviate(scope['path'])}: GET /openapi.json lists them"
        await respond(send, status.refusal("not_a_route", detail))
