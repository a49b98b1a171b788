"""`raven request` and `raven reply`: a question, and the answer to it."""

from __future__ import annotations

from typing import Any

import click

from raven.cli.commit import Call, commit
from raven.cli.content import REPLY_TO, content_options
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
from raven.cli.output import body_text, echo_json, echo_sent
from raven.wake import sigterm as signals


@click.command(short_help="Send a message and wait for the answer.")
@click.option("--from", "sender", type=ADDRESS, required=True, help="Who asks, <role>:<session>.")
@click.option("--to", type=ADDRESS, required=True, multiple=True, help="Whom; of several answers the first counts.")
@content_options(lasting=False)
@REPLY_TO
@click.option("--timeout", type=DURATION, default="30s", show_default=True, help="Give up after this long; exit 1.")
@json_option
@bus_option
def request(
    sender: str, to: tuple[str, ...], content: dict[str, Any], timeout: float, as_json: bool, db: str | None
) -> None:
    """Send a message, wait for the answer that `raven reply` gives to it, and print the answer's body.

    After the timeout, or when this is interrupted, nobody begins with the message any more.
    """
    signals.unwind_on_sigterm()
    with open_client(sender, db) as bus:
        answer = bus.request(to[0] if len(to) == 1 else list(to), timeout_s=timeout, **content)
    if as_json:
        echo_json(answer.as_dict())
    else:
        click.echo(body_text(answer.body))


@click.command(short_help="Answer a message.")
@click.argument("message_id", metavar="ID", type=int)
@recipient_option
@content_options(lasting=True)
@click.option("--ack", "acks", is_flag=True, help="Finish the message, too: both in one commit, or neither.")
@lease_option
@json_option
@bus_option
def reply(
    message_id: int,
    role: str | None,
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
    with open_recipient(role, message_id, db) as bus:
        if acks:
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
