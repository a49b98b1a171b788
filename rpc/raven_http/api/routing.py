"""Routing: one ASGI program over all routes, which finds the endpoint of a request."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from functools import cached_property, partial

from starlette.routing import BaseRoute, Route, Router
from starlette.types import Receive, Scope, Send

from raven.errors import DatabaseError, abbreviate
from raven.model.schemas import SchemaRegistry
from raven.model.version import __version__
from raven_http.api import metrics, openapi, status
from raven_http.api.calls import Calls
from raven_http.api.endpoint import JSON, MethodEndpoint, TextEndpoint, respond
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


class Routing:
    """The program that answers requests: the routes of the API, then `others`."""

    def __init__(self, calls: Calls, others: Sequence[BaseRoute] = ()) -> None:
        texts = Texts(calls)
        endpoints = [(route, MethodEndpoint(route, calls)) for route in ROUTES]
        self._router = Router(
            [
                *(JsonRoute(one.path, endpoint, methods=[one.verb]) for one, endpoint in endpoints),
                _text_route("/health", calls, texts.health),
                _text_route("/openapi.json", calls, texts.openapi),
                _text_route("/schemas", calls, texts.schemas),
                _text_route("/metrics", calls, texts.metrics, metrics.CONTENT_TYPE),
                *others,
            ],
            redirect_slashes=False,
            default=_not_found,
        )
        # Most requests are to these; the router compares the pattern of each route in turn.
        self._fixed = {(one.verb, one.path): endpoint for one, endpoint in endpoints if not one.takes_id}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        key = scope["type"] == "http" and (scope["method"], scope["path"].removeprefix(scope.get("root_path", "")))
        await (self._fixed.get(key) or self._router)(scope, receive, send)


def _text_route(path: str, calls: Calls, make: Callable[[], Awaitable[bytes]], kind: bytes = JSON) -> JsonRoute:
    return JsonRoute(path, TextEndpoint(path, calls, make, kind), methods=["GET"])


class Texts:
    """The answers that describe the bus and the bridge itself."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._host = calls.host

    async def health(self) -> bytes:
        """Return that the bus can be read, the name of its file without the folder, and the version of raven."""
        await self._calls.read(self._host.reader_bus.data_version)
        return encode({"status": "ok", "db": os.path.basename(self._host.db_path), "version": __version__})

    async def openapi(self) -> bytes:
        """Return the OpenAPI document."""
        return self._document

    @cached_property
    def _document(self) -> bytes:
        return encode(openapi.document(is_bound=self._calls.context.address is not None))

    async def schemas(self) -> bytes:
        """Return the JSON schemas of bodies by type, and of the parameters of each write."""
        is_bound = self._calls.context.address is not None
        writes = {one.path: openapi.parameters(one, is_bound=is_bound) for one in ROUTES if one.is_write}
        types, strict = SchemaRegistry.json_schemas(), SchemaRegistry.is_strict()
        return encode({"types": types, "strict": strict, "parameters": writes})

    async def metrics(self) -> bytes:
        """Return the figures of the bus and of the server; only the server's own if the bus cannot be read."""
        bus = self._calls.context.view(self._host.admin_bus)
        try:
            stats = await self._calls.examine(partial(bus.stats, full=False))
        except DatabaseError:
            stats = None
        return metrics.render(stats, self._calls.stats(), self._calls.answered).encode(errors="replace")


async def _not_found(scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse a path without a route."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1000})
    else:
        detail = f"there is no route {abbreviate(scope['path'])}: GET /openapi.json lists them"
        await respond(send, status.refusal("not_a_route", detail))
