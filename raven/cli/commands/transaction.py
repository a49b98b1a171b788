"""`raven transaction`, and the commit of several calls in one, on the file or through the server."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import click

from raven.cli.options import address_option, bus_option, chosen_socket, json_option, open_client
from raven.cli.output import echo_json
from raven.errors import DatabaseError, InputError, RavenError
from raven.model.draft import OPTIONS

if TYPE_CHECKING:
    from raven.bus import Bus, Transaction

_OF_A_REPLY = ("body", *(name for name, option in OPTIONS.items() if option.not_of != "reply"))
_NOT_OF_A_REPLY = tuple(name for name, option in OPTIONS.items() if option.not_of == "reply")


class Method(NamedTuple):
    """What a line can ask for: the parameters that it must and may have, and how its result is shown as JSON."""

    required: tuple[str, ...]
    optional: tuple[str, ...]
    shape: Callable[[Any, dict[str, Any]], dict[str, Any]]


class Step(NamedTuple):
    """One line that was checked."""

    line: int
    method: str
    params: dict[str, Any]


def _rows(rows: list[tuple[Any, ...]], params: dict[str, Any]) -> dict[str, Any]:
    return {"rows": [[value.hex() if isinstance(value, bytes) else value for value in row] for row in rows]}


# What is required is passed by place, as Python's method has it.
METHODS = {
    "send": Method(("to", "type"), (*_OF_A_REPLY, *_NOT_OF_A_REPLY), lambda sent, _: dict(sent.as_dict())),
    "send_many": Method(("messages",), (), lambda sent, _: {"messages": [message.as_dict() for message in sent]}),
    "reply": Method(("id", "type"), _OF_A_REPLY, lambda sent, _: dict(sent.as_dict())),
    "ack": Method(("id",), ("lease",), lambda _, given: {"acked": [given["id"]]}),
    "nack": Method(
        ("id",),
        ("delay_s", "reason", "lease"),
        lambda state, given: {"nacked": [{"id": given["id"], "state": state}]},
    ),
    "extend": Method(("id",), ("lease_s", "lease"), lambda _, given: {"extended": [given["id"]]}),
    "execute": Method(("sql",), ("params",), _rows),
}


@click.command(short_help="Do several things in one commit.")
@address_option("As whom, <role>:<session>.", required=True)
@click.argument("file", type=click.File("rb"), default="-")
@json_option
@bus_option
def transaction(address: str, file: BinaryIO, as_json: bool, db: str | None) -> None:
    """Do what the lines of FILE or stdin say, all in one commit or nothing at all, and print a JSON result for each.

    A line is {"method": NAME, "params": {...}}: send, send_many, reply, ack, nack, extend, with the parameters that
    they have in Python; and execute, with your own "sql" and its "params", where no server is between.
    """
    # All is read and checked first: while a transaction is open, no other process can write.
    steps = [_step(number, line) for number, line in enumerate(file.read().splitlines(), 1) if line.strip()]
    if chosen_socket(db) is not None:
        _refuse_sql(steps)
    with open_client(address, db) as bus:
        values = commit(
            bus,
            [_call(step) for step in steps],
            named=lambda number: f"line {steps[number].line}: {steps[number].method}: ",
        )
    results = [METHODS[step.method].shape(value, step.params) for step, value in zip(steps, values, strict=True)]
    if as_json:
        echo_json({"results": results})
    else:
        for result in results:
            echo_json(result)


def _step(number: int, line: bytes) -> Step:
    """Check one line as far as that can be done without the bus."""
    try:
        given = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"line {number} is not JSON: {error}") from None
    if not isinstance(given, dict) or not given.keys() <= {"method", "params"} or "method" not in given:
        raise InputError(f'line {number} is not an object of "method" and "params"')
    name, params = given["method"], given.get("params", {})
    if not isinstance(name, str) or name not in METHODS:
        raise InputError(f"line {number}: the method {name!r} is not known: use {', '.join(METHODS)}")
    if not isinstance(params, dict):
        raise InputError(f"line {number}: {name}: the params are not an object")
    method = METHODS[name]
    known = (*method.required, *method.optional)
    for missing in (one for one in method.required if one not in params):
        raise InputError(f"line {number}: {name}: {missing!r} is missing")
    for other in (one for one in params if one not in known):
        raise InputError(f"line {number}: {name}: {other!r} is no parameter of it: use {', '.join(known)}")
    return Step(number, name, params)


def _call(step: Step) -> Call:
    required = METHODS[step.method].required
    rest = {name: value for name, value in step.params.items() if name not in required}
    return Call(step.method, tuple(step.params[name] for name in required), rest)


def _refuse_sql(steps: list[Step]) -> None:
    for step in steps:
        if step.method == "execute":
            raise InputError(f"line {step.line}: execute needs the bus file: leave out --socket and RAVEN_SOCKET")


class Call(NamedTuple):
    """A method of `raven.bus.Transaction`, with its arguments."""

    method: str
    args: tuple[Any, ...]
    options: dict[str, Any]


def commit(bus: Bus, calls: Sequence[Call], named: Callable[[int], str] = lambda number: "") -> list[Any]:
    """Do all calls in one transaction, or none of them, and return what each returned.

    An error about a call begins with what `named` makes of its number.
    """
    try:
        with bus.transaction() as tx:
            for number, call in enumerate(calls):
                _do(tx, number, call, named)
    except RavenError as error:
        if error.call is not None and error.call < len(calls):  # the server's word on which one it was
            told = f"call {error.call} ({calls[error.call].method}) of the transaction: "
            error.args = (f"{named(error.call)}{str(error).removeprefix(told)}", *error.args[1:])
        raise
    # The server does all at the end of the block, and what came of it is known only then.
    return tx.results


def _do(tx: Transaction, number: int, call: Call, named: Callable[[int], str]) -> None:
    try:
        getattr(tx, call.method)(*call.args, **call.options)
    except DatabaseError:
        raise  # of the bus file, and none of the call's
    except RavenError as error:
        error.args = (f"{named(number)}{error}", *error.args[1:])
        raise
