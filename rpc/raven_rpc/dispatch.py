"""Dispatch: from a request to its method and back, by jsonrpcserver; the only module that imports it.

Each element of a batch is dispatched on its own, since the specification wants one error for each that is malformed.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

from jsonrpcserver.dispatcher import call as call_method
from jsonrpcserver.dispatcher import create_request, get_method
from jsonrpcserver.result import Error, Result, Success
from jsonrpcserver.sentinels import NOID
from oslash.either import Left

from raven import RavenError
from raven_rpc import faults, protocol
from raven_rpc.caller import Caller
from raven_rpc.methods import Method
from raven_rpc.params import bind
from raven_rpc.work import Work


class Call:
    """One request on its way: who calls, and what is left to be done for it when its method has returned."""

    __slots__ = ("caller", "work")

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.work: Work | None = None


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
        self._methods: dict[str, Any] = {name: _Adapter(method) for name, method in methods.items()}

    def dispatch(self, request: Any, caller: Caller) -> Reply:
        """Return what one request, an element of a batch or a line of its own, has come to."""
        reason = _malformed(request)
        if reason is not None:
            return _refusal(None, protocol.INVALID_REQUEST, reason)
        call = Call(caller)
        asked = create_request(request)
        # Not its `dispatch_request`: that binds a signature first, where each of these methods has a model.
        result = get_method(self._methods, asked.method).bind(partial(call_method, asked, call))
        if asked.id is NOID:
            return Reply(False, None, None, call.work)
        if not isinstance(result, Left):
            response = None if call.work is not None else protocol.success(asked.id, result._value.result)
            return Reply(True, asked.id, response, call.work)
        error = result._error
        if error.code == protocol.METHOD_NOT_FOUND:
            reason = f"there is no method {asked.method[:100]!r}: ask rpc.discover which there are"
            return _refusal(asked.id, error.code, reason)
        return Reply(True, asked.id, protocol.failure(asked.id, error._asdict()), None)


def _refusal(id: Any, code: int, reason: str) -> Reply:
    return Reply(True, id, protocol.failure(id, faults.standard(code, reason)), None)


class _Adapter:
    """A method as jsonrpcserver calls it."""

    def __init__(self, method: Method) -> None:
        self._method = method

    def __call__(self, call: Call, /, *args: Any, **kwargs: Any) -> Result:
        try:
            outcome = self._method.run(call.caller, bind(self._method.params, args, kwargs))
        except RavenError as error:
            return Error(**faults.to_wire(error))
        except Exception as error:
            logging.getLogger("raven").exception("a request failed unexpectedly")
            return Error(**faults.to_wire(error))
        if isinstance(outcome, Work):
            call.work = outcome
            outcome = None
        return Success(outcome)


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
