"""Dispatch: from a request to its method and back; the only module that imports jsonrpcserver.

Each element of a batch is dispatched on its own, because the specification wants one error per malformed element.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jsonrpcserver import Error, Result, Success
from jsonrpcserver.dispatcher import call as call_method
from jsonrpcserver.dispatcher import create_request
from oslash.either import Left

from raven.errors import RavenError, abbreviate
from raven_rpc.jsonrpc import errors, messages
from raven_rpc.methods.binding import bind
from raven_rpc.methods.context import Context
from raven_rpc.methods.method import Method, Work


class Dispatched(NamedTuple):
    """The result of a dispatch: a response, or work to be done, and the id of the request.

    A notification gets no response (`wants_response` is false), and its id is None.
    """

    wants_response: bool
    id: Any
    response: dict[str, Any] | None
    work: Work | None


class Dispatcher:
    """Finds the method of a request and calls it; any failure becomes an error response. Its users count."""

    def __init__(self, methods: Mapping[str, Method]) -> None:
        self._methods = {name: _adapted(method) for name, method in methods.items()}
        self.requests = self.errors = 0

    def dispatch(self, request: Any, context: Context) -> Dispatched:
        """Dispatch one request: an element of a batch, or a line of its own. Any thread may call it."""
        reason = _malformed(request)
        if reason is not None:
            return self._refusal(None, errors.standard(messages.INVALID_REQUEST, reason))
        wants_response, id, method = "id" in request, request.get("id"), self._methods.get(request["method"])
        if method is None:
            reason = f"there is no method {abbreviate(request['method'])}: ask rpc.discover which there are"
            error: dict[str, Any] | None = errors.standard(messages.METHOD_NOT_FOUND, reason)
            value = None
        else:
            value, error = _call(method, request, context)
        if isinstance(value, Work):
            return Dispatched(wants_response, id, None, value)
        if not wants_response:
            return Dispatched(False, None, None, None)
        return Dispatched(True, id, messages.success(id, value), None) if error is None else self._refusal(id, error)

    def _refusal(self, id: Any, error: dict[str, Any]) -> Dispatched:
        return Dispatched(True, id, messages.failure(id, error), None)


def _call(
    method: Callable[..., Result], request: dict[str, Any], context: Context
) -> tuple[Any, dict[str, Any] | None]:
    """Let jsonrpcserver call a method, and return its value, or None and an error object.

    jsonrpcserver's own `dispatch` would bind a signature first, but these methods have models for their parameters.
    """
    result = call_method(create_request(request), context, method)
    return (None, result._error._asdict()) if isinstance(result, Left) else (result._value.result, None)


def _adapted(method: Method) -> Callable[..., Result]:
    """Return a method in the form that jsonrpcserver calls; it returns a value or Work."""
    params, run = method.params, method.run

    def call(context: Context, /, *args: Any, **kwargs: Any) -> Result:
        try:
            return Success(run(context, bind(params, args, kwargs)))
        except RavenError as error:
            return Error(**errors.to_wire(error))
        except Exception as error:
            logging.getLogger("raven").exception("a request failed unexpectedly")
            return Error(**errors.to_wire(error))

    return call


def _malformed(request: Any) -> str | None:
    if not isinstance(request, dict):
        return "a request is an object"
    if request.get("jsonrpc") != "2.0":
        return 'a request says "jsonrpc": "2.0"'
    if not isinstance(request.get("method"), str):
        return "a request names its method with a text"
    if not isinstance(request.get("params", []), dict | list):
        return "params is an object or an array"
    if isinstance(request.get("id"), bool | dict | list):
        return "id is a text, a number or null"
    return None
