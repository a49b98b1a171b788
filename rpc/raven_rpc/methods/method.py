"""Method: how a method is described, and the work that it leaves to be done off the event loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from raven.host.deferred import Deferred
from raven.host.worker import Executor
from raven_rpc.methods.context import Context
from raven_rpc.methods.params import Params


def as_is(value: Any) -> Any:
    """Return a value as the answer that it is."""
    return value


class Work(NamedTuple):
    """A step of one request: `run` it in its lane, then `answer` with what it returned, as JSON can hold it.

    The lanes are the writer's thread, the reader's, that of what takes long, and the event loop itself once all before
    it is done. Of a step that has succeeded the event loop runs `at_once` before anything else, and `after` after the
    answer. With `wait`, the answer comes later: when the Wait ends that this makes of what `run` returned, unless it
    makes none. `weight` is about how many messages it handles.
    """

    executor: Executor | Literal["loop"]
    run: Callable[[], Any]
    answer: Callable[[Any], Any] = as_is
    after: Callable[[Any], None] | None = None
    weight: int = 1
    at_once: Callable[[Any], None] | None = None
    wait: Callable[[Any], Deferred | None] | None = None


class Method(NamedTuple):
    """One method: what it takes, what it does in a context, and what it answers, in words.

    `run` returns its answer, or the Work that leads to it.
    """

    params: type[Params]
    run: Callable[[Context, Any], Any]
    answers: str
