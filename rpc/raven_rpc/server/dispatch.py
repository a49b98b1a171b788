"""Dispatch: from a request to its method and back, by jsonrpcserver; the only module that imports it.

Each element of a batch is dispatched on its own, since the specification wants one error for each that is malformed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jsonrpcserver.dispatcher import call as call_method
from jsonrpcserver.dispatcher import create_request, get_method
from jsonrpcserver.result import Error, Result, Success
from jsonrpcserver.sentinels import NOID
from oslash.either import Left

from raven import RavenError
from raven_rpc.jsonrpc import errors as faults
from raven_rpc.jsonrpc import messages as protocol
from raven_rpc.methods.caller import Caller
from raven_rpc.methods.params import bind
from raven_rpc.methods.table import Method
from raven_rpc.server.worker import Work


class Reply(NamedTuple):
    """What a request has come to: a response that is ready, or work to be done, and the id to answer it with.

    A notification has neither a response nor an id to answer with (`wanted` is false).
    """

    wanted: bool
    id: Any
    response: dict[str, Any] | None
    work: Work | None


class Dispatcher:
    """Finds the method of a request and calls it, with every mistake as an error response."""

    def __init__(self, methods: Mapping[str, Method]) -> None:
        self._methods: dict[str, Any] = {name: _adapted(method) for name, method in methods.items()}

    def dispatch(self, request: Any, caller: Caller) -> Reply:
        """Return what one request, an element of a batch or a line of its own, has come to."""
        reason = _malformed(request)
        if reason is not None:
            return _refusal(None, protocol.INVALID_REQUEST, reason)
        asked = create_request(request)
        method = get_method(self._methods, asked.method)
        # Not its `dispatch_request`: that binds a signature first, where each of these methods has a model.
        result = method if isinstance(method, Left) else call_method(asked, caller, method._value)
        value = None if isinstance(result, Left) else result._value.result
        work = value if isinstance(value, Work) else None
        if asked.id is NOID:
            return Reply(False, None, None, work)
        if not isinstance(result, Left):
            return Reply(True, asked.id, protocol.success(asked.id, value) if work is None else None, work)
        error = result._error
        if error.code == protocol.METHOD_NOT_FOUND:
            reason = f"there is no method {asked.method[:100]!r}: ask rpc.discover which there are"
            return _refusal(asked.id, error.code, reason)
        return Reply(True, asked.id, protocol.failure(asked.id, error._asdict()), None)


def _refusal(id: Any, code: int, reason: str) -> Reply:
    return Reply(True, id, protocol.failure(id, faults.standard(code, reason)), None)


def _adapted(method: Method) -> Callable[..., Result]:
    """Return a method as jsonrpcserver calls it, which answers with a value or with Work."""
    params, run = method.params, method.run

    def call(caller: Caller, /, *args: Any, **kwargs: Any) -> Result:
        try:
            return Success(run(caller, bind(params, args, kwargs)))
        except RavenError as error:
            return Error(**faults.to_wire(error))
        except Exception as error:
            logging.getLogger("raven").exception("a request failed unexpectedly")
            return Error(**faults.to_wire(error))

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
