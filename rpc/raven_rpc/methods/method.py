"""Method: the description of a method, and the work that it leaves to an executor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from raven.host.deferred import Deferred
from raven.host.worker import Executor
from raven_rpc.methods.context import Context
from raven_rpc.methods.params import Params


def as_is(value: Any) -> Any:
    """Return a value that is a JSON value already."""
    return value


class Work(NamedTuple):
    """The work of one request: its executor calls `run`, then `to_result` with the value, and encodes the result.

    Executors are the threads of a Host; "loop" is the event loop itself, after all earlier work of the connection. If
    `run` succeeds, the event loop calls `on_success` at once and `after_reply` after the response. `deferred(value)`
    may return a Deferred: the response is then sent when that completes. `weight` is about how many messages are
    handled. `is_page`: the result may be long, however short the request is, and a value other than None is never
    deferred. `on_loop`: the event loop calls `to_result`.
    """

    executor: Executor | Literal["loop"]
    run: Callable[[], Any]
    to_result: Callable[[Any], Any] = as_is
    after_reply: Callable[[Any], None] | None = None
    weight: int = 1
    on_success: Callable[[Any], None] | None = None
    deferred: Callable[[Any], Deferred | None] | None = None
    is_page: bool = False
    on_loop: bool = False


class Method(NamedTuple):
    """One method: the model of its parameters, its function, and the name of its result's schema.

    `run` returns the result, or the Work that leads to it.
    """

    params: type[Params]
    run: Callable[[Context, Any], Any]
    result_schema: str
