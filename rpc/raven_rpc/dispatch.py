"""Dispatch: from a request to its method and back, by jsonrpcserver; the only module that imports it.

Each element of a batch is dispatched on its own, since the specification wants one error for each that is malformed.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

from jsonrpcserver.dispatcher import dispatch_to_response_pure
from jsonrpcserver.result import Error, Result, Success
from oslash.either import Left

from raven import RavenError
from raven_rpc import faults, protocol
from raven_rpc.caller import Caller
from raven_rpc.methods import Method
from raven_rpc.params import bind
from raven_rpc.work import Work, identity

_ANY_PARAMETERS = inspect.Signature(
    [
        inspect.Parameter("call", inspect.Parameter.POSITIONAL_ONLY),
        inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL),
        inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD),
    ]
)


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
        call = Call(caller)
        response: Any = dispatch_to_response_pure(
            deserializer=identity,
            validator=_validate,
            methods=self._methods,
            context=call,
            post_process=identity,
            request=request,
        )
        if response is None:
            return Reply(False, None, None, call.work)
        if isinstance(response, Left):
            error = response._error
            if error.code in faults.STANDARD and not isinstance(error.data, dict):
                reason = _reason(error.code, request)
                return Reply(True, error.id, protocol.failure(error.id, faults.standard(error.code, reason)), None)
            shape = {"code": error.code, "message": error.message, "data": error.data}
            return Reply(True, error.id, protocol.failure(error.id, shape), None)
        found = response._value
        if call.work is not None:
            return Reply(True, found.id, None, call.work)
        return Reply(True, found.id, protocol.success(found.id, found.result), None)


class _Adapter:
    """A method as jsonrpcserver calls it."""

    def __init__(self, method: Method) -> None:
        self._method = method
        self.__signature__ = _ANY_PARAMETERS

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


def _validate(request: Any) -> Any:
    """Refuse what is no request; whatever is raised becomes `Invalid Request`."""
    reason = _malformed(request)
    if reason:
        raise ValueError(reason)
    return request


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


def _reason(code: int, request: Any) -> str:
    if code == protocol.METHOD_NOT_FOUND:
        return f"there is no method {request['method'][:100]!r}: ask rpc.discover which there are"
    return _malformed(request) or "the request could not be taken"
