"""`raven transaction`, and `run_batch`: several calls in one commit, on the file or through the server."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import click

from raven.cli.command import Documented
from raven.cli.options import address_option, bus_option, chosen_socket, json_option, open_client
from raven.cli.output import echo_json
from raven.errors import DatabaseError, InputError, RavenError, abbreviate
from raven.model.new_message import OPTIONS

if TYPE_CHECKING:
    from raven.bus import Bus, Transaction

_REPLY_OPTIONS = ("body", *(name for name, option in OPTIONS.items() if option.not_of != "reply"))
_SEND_ONLY_OPTIONS = tuple(name for name, option in OPTIONS.items() if option.not_of == "reply")


class Method(NamedTuple):
    """A method of a line: its required and optional parameters, and a function from its result to JSON."""

    required: tuple[str, ...]
    optional: tuple[str, ...]
    to_json: Callable[[Any, dict[str, Any]], dict[str, Any]]


class Step(NamedTuple):
    """One line, checked: its number, its method and the parameters."""

    line: int
    method: str
    params: dict[str, Any]


def _rows(rows: list[tuple[Any, ...]], params: dict[str, Any]) -> dict[str, Any]:
    return {"rows": [[value.hex() if isinstance(value, bytes) else value for value in row] for row in rows]}


# The required parameters are positional, in the order of the Python method.
METHODS = {
    "send": Method(("to", "type"), (*_REPLY_OPTIONS, *_SEND_ONLY_OPTIONS), lambda sent, _: dict(sent.as_dict())),
    "send_many": Method(("messages",), (), lambda sent, _: {"messages": [message.as_dict() for message in sent]}),
    "reply": Method(("id", "type"), _REPLY_OPTIONS, lambda sent, _: dict(sent.as_dict())),
    "ack": Method(("id",), ("lease",), lambda _, params: {"acked": [params["id"]]}),
    "nack": Method(
        ("id",),
        ("delay_s", "reason", "lease"),
        lambda state, params: {"nacked": [{"id": params["id"], "state": state}]},
    ),
    "extend": Method(("id",), ("lease_s", "lease"), lambda _, params: {"extended": [params["id"]]}),
    "execute": Method(("sql",), ("params",), _rows),
}


@click.command(
    cls=Documented,
    short_help="Run several calls in one commit.",
    example="""echo '{"method": "ack", "params": {"id": 1}}' | raven transaction -a worker:s1""",
    exit_codes={1: "a call failed, and no call took effect; exit codes 2 to 6 say the same of their errors"},
)
@address_option("Address that makes the calls, <role>:<session>.", required=True)
@click.argument("file", type=click.File("rb"), default="-")
@json_option
@bus_option
def transaction(address: str, file: BinaryIO, as_json: bool, db: str | None) -> None:
    """Run the calls in FILE or stdin, one per line, in one commit, and print a JSON result for each: all or none.

    A line is {"method": NAME, "params": {...}}. Methods: send, send_many, reply, ack, nack and extend, with the
    parameters of the Python methods. Without a server also execute, with "sql" and its "params": your own SQL.
    """
    # Read and check all lines first: while a transaction is open, no other process can write.
    steps = [_step(number, line) for number, line in enumerate(file.read().splitlines(), 1) if line.strip()]
    if chosen_socket(db) is not None:
        _refuse_sql(steps)
    with open_client(address, db) as bus:
        values = run_batch(
            bus,
            [_call(step) for step in steps],
            label=lambda number: f"line {steps[number].line}: {steps[number].method}: ",
        )
    results = [METHODS[step.method].to_json(value, step.params) for step, value in zip(steps, values, strict=True)]
    if as_json:
        echo_json({"results": results})
    else:
        for result in results:
            echo_json(result)


def _step(number: int, line: bytes) -> Step:
    """Parse one line and check everything that can be checked without the bus; raises InputError."""
    try:
        call = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"line {number} is not JSON: {error}") from None
    if not isinstance(call, dict) or not call.keys() <= {"method", "params"} or "method" not in call:
        raise InputError(f'line {number} is not an object with "method" and "params"')
    name, params = call["method"], call.get("params", {})
    if not isinstance(name, str) or name not in METHODS:
        raise InputError(f"line {number}: the method {abbreviate(name)} is not known: use {', '.join(METHODS)}")
    if not isinstance(params, dict):
        raise InputError(f"line {number}: {name}: the params are not an object")
    method = METHODS[name]
    known = (*method.required, *method.optional)
    for missing in (param for param in method.required if param not in params):
        raise InputError(f"line {number}: {name}: {abbreviate(missing)} is missing")
    for other in (param for param in params if param not in known):
        raise InputError(f"line {number}: {name}: {abbreviate(other)} is not a parameter of it: use {', '.join(known)}")
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


def run_batch(bus: Bus, calls: Sequence[Call], label: Callable[[int], str] = lambda number: "") -> list[Any]:
    """Run calls in one transaction, all or none, and return their results.

    `label` returns the text that an error of a call starts with, from the number of the call.
    """
    try:
        with bus.transaction() as tx:
            for number, call in enumerate(calls):
                _run_call(tx, number, call, label)
    except RavenError as error:
        if error.call is not None and error.call < len(calls):  # the server tells which call failed
            prefix = f"call {error.call} ({calls[error.call].method}) of the transaction: "
            error.args = (f"{label(error.call)}{str(error).removeprefix(prefix)}", *error.args[1:])
        raise
    # A server runs the calls at the end of the block: the results exist only now.
    return tx.results


def _run_call(tx: Transaction, number: int, call: Call, label: Callable[[int], str]) -> None:
    try:
        getattr(tx, call.method)(*call.args, **call.options)
    except DatabaseError:
        raise  # it concerns the bus file, not one call
    except RavenError as error:
        error.args = (f"{label(number)}{error}", *error.args[1:])
        raise
