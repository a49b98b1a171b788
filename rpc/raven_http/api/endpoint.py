"""Endpoint: the ASGI program of one route, from the bytes of a request to the bytes of its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from starlette.types import Receive, Scope, Send

from raven.errors import InputError, LimitError, abbreviate
from raven_http.api import query, status
from raven_http.api.body import LONG, read_start
from raven_http.api.calls import Calls
from raven_http.api.status import Answer, BadRequestError
from raven_http.api.table import Route
from raven_rpc.jsonrpc import messages
from raven_rpc.methods.binding import abbreviate_json, bind
from raven_rpc.methods.method import Work

# A client must read each part of a long answer within this time; the server of `raven serve` ends it earlier.
_PATIENCE_S = 60.0
JSON = b"application/json"


class MethodEndpoint:
    """Calls the method of a route. The answer to a write follows its commit."""

    def __init__(self, route: Route, calls: Calls) -> None:
        self._route = route
        self._calls = calls
        self._names = route.names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        body: bytes | None = b""
        if self._calls.rates is not None:
            try:
                scope["raven.share"] = self._calls.rates.admit(scope)
            except LimitError as error:
                return await self._respond(send, status.of_error(error, is_write=self._route.is_write))
        if self._route.is_write:
            body, has_more = await read_start(receive)
            if body is not None and (has_more or len(body) > LONG):
                return await self._answer_long(scope, body, has_more, receive, send)
        if body is not None:
            await self._respond(send, await self._answer(scope, body))
        return None

    async def _answer_long(self, scope: Scope, start: bytes, has_more: bool, receive: Receive, send: Send) -> None:
        """Answer a request with a long body, which begins with `start`."""
        try:
            async with self._calls.long_body() as place:
                body = await place.read(start, receive) if has_more else start
                if body is None:
                    return
                answer = await self._answer(scope, body)
        except (BadRequestError, LimitError) as error:
            answer = status.of_error(error, is_write=True)
            answer = answer._replace(headers=(*answer.headers, ("connection", "close")))
        await self._respond(send, answer)

    async def _respond(self, send: Send, answer: Answer) -> None:
        self._calls.answered[self._route.path, answer.status] += 1
        try:
            await respond(send, answer)
        finally:
            if answer.status == 200:
                self._calls.release(answer.text)

    async def _answer(self, scope: Scope, body: bytes) -> Answer:
        params: dict[str, Any] = {}
        if self._calls.rates is not None:
            scope["raven.share"].spend_bytes(len(body))
        try:
            run = partial(self._work, scope, body, params)
            work: Work = await self._calls.parse(run, is_long=len(body) > LONG)
            if self._calls.rates is not None:
                scope["raven.share"].spend_weight(work.weight - 1)
            return Answer(200, await self._calls.run(work, scope.get("client") or scope))
        except Exception as error:
            return status.of_error(error, is_write=self._route.is_write, id=params.get("id"))

    def _work(self, scope: Scope, body: bytes, params: dict[str, Any]) -> Work:
        """Return the work of a request, and put its parameters into `params`; any thread."""
        route, context = self._route, self._calls.context
        if route.takes_id:
            params["id"] = query.to_id(scope["path_params"]["id"])
        model = route.method.params
        if route.is_write:
            self._calls.check_values(body)
            given = query.with_integers(model, _of_body(scope, body))
        else:
            given = query.convert(model, query.of(scope))
        for name in given:
            if name not in self._names:
                usage = f"which takes {', '.join(self._names)}" if self._names else "which takes none"
                raise InputError(f"{abbreviate(name)} is no parameter of this route, {usage}")
        params.update(given)
        if route.caller is not None and params.get(route.caller) is None and context.address is None:
            raise InputError(f"{abbreviate(route.caller)} is missing: give an address, for example architect:swarm-1")
        work: Work = route.method.run(context, bind(model, (), {**params, **route.fixed}, self._names))
        return work


def _of_body(scope: Scope, body: bytes) -> dict[str, Any]:
    """Return the parameters of a request whose body is JSON."""
    query.refuse(scope)
    try:
        params = messages.parse(body)
    except messages.ParseError as error:
        reason = f"the body is not JSON: {error}" if body else "the body is empty: send the parameters as a JSON object"
        raise BadRequestError(reason, "parse_error") from None
    if not isinstance(params, dict):
        raise InputError(f"the body is {abbreviate_json(params)}: send the parameters as a JSON object")
    return params


class TextEndpoint:
    """Answers with a text that a function makes; its requests take no parameters."""

    def __init__(
        self, path: str, calls: Calls, make: Callable[[], Awaitable[bytes]], content_type: bytes = JSON
    ) -> None:
        self._path = path
        self._calls = calls
        self._make = make
        self._content_type = content_type

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        content_type = self._content_type
        try:
            if self._calls.rates is not None:
                self._calls.rates.admit(scope)
            query.refuse(scope)
            answer = Answer(200, await self._make())
        except Exception as error:
            answer, content_type = status.of_error(error, is_write=False), JSON
        self._calls.answered[self._path, answer.status] += 1
        await respond(send, answer, content_type)


async def respond(send: Send, answer: Answer, content_type: bytes = JSON) -> None:
    """Write an answer; a long one part by part, as fast as the client reads."""
    text = answer.text
    headers = [
        (b"content-type", content_type),
        (b"content-length", b"%d" % len(text)),
        *((name.encode(), value.encode()) for name, value in answer.headers),
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    if len(text) <= LONG:
        await send({"type": "http.response.body", "body": text})
        return
    for start in range(0, len(text), LONG):
        part = text[start : start + LONG]
        async with asyncio.timeout(_PATIENCE_S):
            await send({"type": "http.response.body", "body": part, "more_body": start + LONG < len(text)})
