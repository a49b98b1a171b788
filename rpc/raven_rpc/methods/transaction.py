"""Transaction: several calls in one transaction, all or none.

Unlike a transaction in Python, it has no user SQL, because the client may be in a sandbox.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from raven.errors import DatabaseError, InputError, LimitError, RavenError, abbreviate
from raven.model.limits import MAX_PAGE_BYTES
from raven_rpc.jsonrpc.messages import encode
from raven_rpc.methods import params
from raven_rpc.methods.binding import abbreviate_json, bind
from raven_rpc.methods.context import Context
from raven_rpc.methods.method import Method, Work

ALLOWED = ("send", "send_many", "reply", "ack", "nack", "extend", "claim")
MAX_CALLS = 1000


def transact(context: Context, args: params.Transaction, methods: Mapping[str, Method]) -> Work:
    """Return the work of all calls as one; each call is checked as a request of its own."""
    if len(args.calls) > MAX_CALLS:
        raise LimitError(f"a transaction of {len(args.calls):,} calls is over the limit of {MAX_CALLS:,}")
    works: list[Work] = []
    for number, call in enumerate(args.calls):
        with _naming_call(number, call):
            works.append(_work(context, call, methods))
    bus = context.writer

    def run() -> list[Any]:
        values, size = [], 0
        with bus.atomic():
            for number, (call, work) in enumerate(zip(args.calls, works, strict=True)):
                with _naming_call(number, call):
                    values.append(work.run())
                    if work.is_page:
                        size += len(encode(work.to_result(values[-1])))
                        _check_size(size, context)
        return values

    def on_success(values: list[Any]) -> None:
        for work, value in zip(works, values, strict=True):
            if work.on_success is not None:
                work.on_success(value)

    return Work(
        "write",
        run,
        lambda values: {"results": [work.to_result(value) for work, value in zip(works, values, strict=True)]},
        weight=sum(work.weight for work in works),
        on_success=on_success,
        is_page=any(work.is_page for work in works),
    )


def _check_size(size: int, context: Context) -> None:
    """Raise LimitError if the results of the calls that return much are longer than a page."""
    if size > MAX_PAGE_BYTES:
        raise LimitError(f"the results are over {MAX_PAGE_BYTES:,} bytes; nothing was done: claim or send less at once")
    context.check_answer(size)


def _work(context: Context, value: Any, methods: Mapping[str, Method]) -> Work:
    if not isinstance(value, dict):
        raise InputError(f"{abbreviate_json(value)} is not an object with a method and params")
    call = bind(params.Call, (), value)
    if call.method not in ALLOWED:
        raise InputError(f"{abbreviate(call.method)} cannot be part of a transaction: use {', '.join(ALLOWED)}")
    method = methods[call.method]
    args, kwargs = (call.params, {}) if isinstance(call.params, list) else ((), call.params)
    run: Callable[..., Work] = method.run
    return run(context, bind(method.params, tuple(args), kwargs))


@contextmanager
def _naming_call(number: int, call: Any) -> Iterator[None]:
    """Add the number of the call to its error; a DatabaseError passes unchanged: it concerns the file, not one call."""
    try:
        yield
    except DatabaseError:
        raise
    except RavenError as error:
        name = call.get("method") if isinstance(call, dict) else None
        method = f" ({name})" if isinstance(name, str) and name in ALLOWED else ""
        error.call = number
        error.args = (f"call {number}{method} of the transaction: {error}", *error.args[1:])
        raise
