"""`raven send`, `raven request` and `raven reply`, and the options that say what is sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, BinaryIO, Literal

import click

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
from raven.model.draft import OPTION_TYPES, OPTIONS
from raven.model.message import URGENCIES, Report, Urgency

Command = Callable[..., Any]

_OPTIONS: tuple[Callable[[Command], Command], ...] = (
    click.option("-t", "--type", metavar="TYPE", required=True, help="What kind of message it is."),
    click.option("--body", metavar="JSON", help="Body as JSON (default: {})."),
    click.option("--body-file", type=click.File("rb"), help="File that holds the body as JSON; - is stdin."),
)
# How the command line takes a value of each type but a text: the end of the name that the flag lacks, and settings.
_BY_TYPE: dict[Any, tuple[str, dict[str, Any]]] = {
    Urgency: ("", {"type": click.Choice(URGENCIES), "show_default": True}),
    Sequence[str]: ("s", {"multiple": True}),
    float | None: ("_s", {"type": DURATION}),
    int | None: ("", {"type": int}),
    Report | None: ("", {"is_flag": True}),
}


def content_options(of: Literal["send", "request", "reply"]) -> Callable[[Command], Command]:
    """Add what can be said of a message; the command gets it as keyword arguments of `of`, those that were given."""

    def add(command: Command) -> Command:
        @wraps(command)
        def gathered(*, body: str | None, body_file: BinaryIO | None, report: bool, **given: Any) -> Any:
            given["report"] = "undelivered" if report else None
            content = {name: value for name, value in given.items() if name in _NAMES and value is not None}
            rest = {name: value for name, value in given.items() if name not in _NAMES}
            return command(content={**content, "body": _read(body, body_file)}, **rest)

        with_options: Command = gathered
        for option in reversed((*_OPTIONS, *map(_option, _names(of)))):
            with_options = option(with_options)
        return with_options

    return add


_NAMES = frozenset({"type", *OPTIONS})


def _names(of: str) -> list[str]:
    """Return the options of one method in the order of --help: those of all methods, the report, then the others."""
    # A request takes the report as well, to say why it is refused.
    taken = [name for name, option in OPTIONS.items() if option.not_of != of or name == "report"]
    return sorted(taken, key=lambda name: ((None, "request", "reply").index(OPTIONS[name].not_of), name != "report"))


def _option(name: str) -> Callable[[Command], Command]:
    """Make an option of the command line from one of SendOptions: --delay of delay_s, --tag of tags."""
    option = OPTIONS[name]
    suffix, settings = _BY_TYPE.get(OPTION_TYPES[name], ("", {}))
    settings = {"help": option.help, "metavar": option.metavar, **settings}
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


@click.command(short_help="Send a message.")
@click.option("--from", "sender", type=ADDRESS, required=True, help="Sender, <role>:<session>.")
@click.option(
    "--to", type=ADDRESS, required=True, multiple=True, help="Address or pattern; may be given several times."
)
@content_options("send")
@click.option("--wait", type=click.Choice(list(_OUTCOMES)), help="Then wait until all recipients have come so far.")
@click.option("--timeout", type=DURATION, help="Wait no longer than this; exit 1 then (30s).")
@json_option
@bus_option
def send(
    sender: str,
    to: tuple[str, ...],
    content: dict[str, Any],
    wait: Any,
    timeout: float | None,
    as_json: bool,
    db: str | None,
) -> None:
    """Send a message; when this returns, it is committed and its recipients were woken.

    --to takes an address (architect:swarm-1) or a broadcast pattern: '*:swarm-1', 'architect:*', '*:*'.
    """
    if timeout is not None and wait is None:
        raise click.UsageError("--timeout is for --wait: give both")
    if wait is not None:
        from raven.wake.sigterm import raise_on_sigterm

        raise_on_sigterm()
    with open_client(sender, db) as bus:
        message = bus.send(to[0] if len(to) == 1 else list(to), **content)
        shape = message.as_dict()
        if not as_json:
            echo_sent(message)
        if wait is not None:
            try:
                receipts = bus.wait_receipt(message.id, wait, 30.0 if timeout is None else timeout)
            except RavenError as error:
                error.args = (f"sent #{message.id}, but {error}", *error.args[1:])
                raise
            shape["receipts"] = [receipt.as_dict() for receipt in receipts]
            if not as_json:
                click.echo(f"{_OUTCOMES[wait]} {escape(', '.join(one.recipient for one in receipts)) or 'nobody'}")
    if as_json:
        echo_json(shape)


@click.command(short_help="Send a message and wait for the answer.")
@click.option("--from", "sender", type=ADDRESS, required=True, help="Who asks, <role>:<session>.")
@click.option("--to", type=ADDRESS, required=True, multiple=True, help="Whom; of several answers the first counts.")
@content_options("request")
@click.option("--timeout", type=DURATION, default="30s", show_default=True, help="Give up after this long; exit 1.")
@json_option
@bus_option
def request(
    sender: str, to: tuple[str, ...], content: dict[str, Any], timeout: float, as_json: bool, db: str | None
) -> None:
    """Send a message, wait for the answer that `raven reply` gives to it, and print the answer's body.

    After the timeout, or when this is interrupted, nobody begins with the message any more.
    """
    from raven.wake.sigterm import raise_on_sigterm

    raise_on_sigterm()
    with open_client(sender, db) as bus:
        answer = bus.request(to[0] if len(to) == 1 else list(to), timeout_s=timeout, **content)
    if as_json:
        echo_json(answer.as_dict())
    else:
        click.echo(body_text(answer.body))


@click.command(short_help="Answer a message.")
@click.argument("message_id", metavar="ID", type=int)
@recipient_option
@content_options("reply")
@click.option("--ack", "acks", is_flag=True, help="Finish the message, too: both in one commit, or neither.")
@lease_option
@json_option
@bus_option
def reply(
    message_id: int,
    address: str | None,
    content: dict[str, Any],
    acks: bool,
    lease: int | None,
    as_json: bool,
    db: str | None,
) -> None:
    """Answer a message as its recipient: to where a request waits for the answer, else to the sender.

    The answer belongs to the same conversation and task, unless told otherwise.
    """
    if lease is not None and not acks:
        raise click.UsageError("--lease is for --ack: give both")
    with open_recipient(address, message_id, db) as bus:
        if acks:
            from raven.cli.commands.transaction import Call, commit

            calls = [Call("ack", (message_id,), {"lease": lease}), Call("reply", (message_id,), content)]
            _, message = commit(bus, calls)
        else:
            message = bus.reply(message_id, **content)
    if as_json:
        echo_json(message.as_dict())
        return
    echo_sent(message)
    if acks:
        click.echo(f"acked #{message_id}")
