"""`raven send`, `raven request` and `raven reply`, and the options of the message that they send."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, BinaryIO, Literal

import click

from raven.cli.command import Documented
from raven.cli.options import (
    ADDRESS,
    DURATION,
    bus_option,
    json_option,
    lease_option,
    open_client,
    open_recipient,
    recipient_option,
)
from raven.cli.output import body_text, echo_json, echo_sent, escape
from raven.errors import BodyError, RavenError
from raven.model import body as bodies
from raven.model.message import URGENCIES, Report, Urgency
from raven.model.new_message import OPTION_TYPES, OPTIONS

Command = Callable[..., Any]

_OPTIONS: tuple[Callable[[Command], Command], ...] = (
    click.option("-t", "--type", metavar="TYPE", required=True, help="Message type."),
    click.option("--body", metavar="JSON", help="Body as JSON (default: {})."),
    click.option("--body-file", type=click.File("rb"), help="File with the body as JSON; - is stdin."),
)
# For each type of an option except a text: the suffix of its name that the flag drops, and settings of click.option.
_BY_TYPE: dict[Any, tuple[str, dict[str, Any]]] = {
    Urgency: ("", {"type": click.Choice(URGENCIES), "show_default": True}),
    Sequence[str]: ("s", {"multiple": True}),
    float | None: ("_s", {"type": DURATION}),
    int | None: ("", {"type": int}),
    Report | None: ("", {"is_flag": True}),
}


def message_options(method: Literal["send", "request", "reply"]) -> Callable[[Command], Command]:
    """Add the options of a message; the command gets the given ones as `message`, keyword arguments of `method`."""

    def add(command: Command) -> Command:
        @wraps(command)
        def with_message(*, body: str | None, body_file: BinaryIO | None, report: bool, **params: Any) -> Any:
            params["report"] = "undelivered" if report else None
            message = {name: value for name, value in params.items() if name in _NAMES and value is not None}
            rest = {name: value for name, value in params.items() if name not in _NAMES}
            return command(message={**message, "body": _read(body, body_file)}, **rest)

        with_options: Command = with_message
        for option in reversed((*_OPTIONS, *(_option(name, method) for name in _names(method)))):
            with_options = option(with_options)
        return with_options

    return add


_NAMES = frozenset({"type", *OPTIONS})


def _names(method: str) -> list[str]:
    """Return the options of a method in the order of --help: common ones, `report`, then special ones."""
    # A request accepts `report` as well, and explains in its error why it refuses it.
    names = [name for name, option in OPTIONS.items() if option.not_of != method or name == "report"]
    return sorted(names, key=lambda name: ((None, "request", "reply").index(OPTIONS[name].not_of), name != "report"))


def _option(name: str, method: str) -> Callable[[Command], Command]:
    """Make a command-line option from one of SendOptions: --delay from delay_s, --tag from tags."""
    option = OPTIONS[name]
    suffix, settings = _BY_TYPE.get(OPTION_TYPES[name], ("", {}))
    refused = option.not_of == method
    settings = {"help": option.help, "metavar": option.metavar, "hidden": refused, **settings}
    if option.least is not None:
        settings["type"] = click.IntRange(min=option.least)
    if option.default:
        settings["default"] = option.default
    return click.option(f"--{name.removesuffix(suffix).replace('_', '-')}", name, **settings)


def _read(text: str | None, file: BinaryIO | None) -> Any:
    if text is not None and file is not None:
        raise click.UsageError("--body and --body-file exclude each other: give one of them")
    if file is not None:
        try:
            text = file.read().decode("utf-8")
        except UnicodeDecodeError as error:
            raise BodyError(f"body file {file.name} is not UTF-8: {error}") from None
    return {} if text is None else bodies.parse(text)


_OUTCOMES = {"delivered": "delivered to", "acked": "acked by"}


@click.command(
    cls=Documented,
    short_help="Send a message.",
    example="raven send --from boss:s1 --to worker:s1 -t job --body '{\"n\": 1}'",
    exit_codes={
        1: "with --wait: the message was sent, but did not reach the state in time or at all",
        6: "no registered address matches the pattern",
    },
)
@click.option("--from", "sender", type=ADDRESS, required=True, help="Sender, <role>:<session>.")
@click.option("--to", type=ADDRESS, required=True, multiple=True, help="Address or pattern; repeatable.")
@message_options("send")
@click.option("--wait", type=click.Choice(list(_OUTCOMES)), help="Wait until every delivery has reached this state.")
@click.option("--timeout", type=DURATION, help="Time limit of --wait (30s).")
@json_option
@bus_option
def send(
    sender: str,
    to: tuple[str, ...],
    message: dict[str, Any],
    wait: Any,
    timeout: float | None,
    as_json: bool,
    db: str | None,
) -> None:
    """Send a message; when this command ends, the message is committed and its recipients are woken.

    --to takes an address (architect:swarm-1) or a broadcast pattern: '*:swarm-1', 'architect:*', '*:*'.
    """
    if timeout is not None and wait is None:
        raise click.UsageError("--timeout needs --wait: give both")
    if wait is not None:
        from raven.wake.sigterm import raise_on_sigterm

        raise_on_sigterm()
    with open_client(sender, db) as bus:
        sent = bus.send(to[0] if len(to) == 1 else list(to), **message)
        result = sent.as_dict()
        if not as_json:
            echo_sent(sent)
        if wait is not None:
            try:
                receipts = bus.wait_receipt(sent.id, wait, 30.0 if timeout is None else timeout)
            except RavenError as error:
                error.args = (f"sent #{sent.id}, but {error}", *error.args[1:])
                raise
            result["receipts"] = [receipt.as_dict() for receipt in receipts]
            if not as_json:
                recipients = escape(", ".join(receipt.recipient for receipt in receipts))
                click.echo(f"{_OUTCOMES[wait]} {recipients or 'no recipient'}")
    if as_json:
        echo_json(result)


@click.command(
    cls=Documented,
    short_help="Send a message and wait for the reply.",
    example="raven request --from boss:s1 --to worker:s1 -t add --body '[1, 2]'",
    exit_codes={1: "no reply came in time", 6: "no registered address matches the pattern"},
)
@click.option("--from", "sender", type=ADDRESS, required=True, help="Sender, <role>:<session>.")
@click.option("--to", type=ADDRESS, required=True, multiple=True, help="Address or pattern; repeatable.")
@message_options("request")
@click.option("--timeout", type=DURATION, default="30s", show_default=True, help="Time limit of the reply.")
@json_option
@bus_option
def request(
    sender: str, to: tuple[str, ...], message: dict[str, Any], timeout: float, as_json: bool, db: str | None
) -> None:
    """Send a message, wait for the first reply to it, and print the body of the reply.

    A timeout or an interrupt withdraws the request: recipients that have not claimed it no longer get it.
    """
    from raven.wake.sigterm import raise_on_sigterm

    raise_on_sigterm()
    with open_client(sender, db) as bus:
        reply = bus.request(to[0] if len(to) == 1 else list(to), timeout_s=timeout, **message)
    if as_json:
        echo_json(reply.as_dict())
    else:
        click.echo(body_text(reply.body))


@click.command(
    cls=Documented,
    short_help="Reply to a message.",
    example="raven reply 1 -t sum --body 3",
    exit_codes={
        1: "the request was withdrawn, or with --ack its lease is lost",
        4: "the message does not exist, or was not sent to the address",
    },
)
@click.argument("message_id", metavar="ID", type=int)
@recipient_option
@message_options("reply")
@click.option("--ack", "acks", is_flag=True, help="Ack the message in the same commit.")
@lease_option
@json_option
@bus_option
def reply(
    message_id: int,
    address: str | None,
    message: dict[str, Any],
    acks: bool,
    lease: int | None,
    as_json: bool,
    db: str | None,
) -> None:
    """Reply to a message as its recipient; the reply goes to the request that waits for it, else to the sender.

    The reply inherits the correlation ID and the task ID of the message, unless you set them.
    """
    if lease is not None and not acks:
        raise click.UsageError("--lease needs --ack: give both")
    with open_recipient(address, message_id, db) as bus:
        if acks:
            from raven.cli.commands.transaction import Call, run_batch

            calls = [Call("ack", (message_id,), {"lease": lease}), Call("reply", (message_id,), message)]
            _, sent = run_batch(bus, calls)
        else:
            sent = bus.reply(message_id, **message)
    if as_json:
        echo_json(sent.as_dict())
        return
    echo_sent(sent)
    if acks:
        click.echo(f"acked #{message_id}")
