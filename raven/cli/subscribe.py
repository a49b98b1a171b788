"""`raven subscribe`."""

from __future__ import annotations

import json
import subprocess
import sys

import click

from raven import signals
from raven.cli.exit_codes import GENERAL
from raven.cli.options import ADDRESS, DURATION, bus_option, json_option, open_client
from raven.cli.output import echo_message, escape
from raven.message import Message


@click.command(short_help="Take messages as they come.")
@click.option("-r", "--role", type=ADDRESS, required=True, help="Whose mail, <role>:<session>.")
@click.option("--exec", "command", metavar="CMD", help="Run this shell command per message, its JSON on stdin.")
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="Stop after N messages.")
@click.option("--timeout", type=DURATION, help="Stop after this long; exit 1 if --count was not reached.")
@json_option
@bus_option
def subscribe(
    role: str, command: str | None, count: int | None, timeout: float | None, as_json: bool, db: str | None
) -> int:
    """Take messages as they come, each at most once, and print them or hand them to a command.

    Several subscribers of one address share its messages. A message is acked before the command runs; where a command
    fails, that is said on stderr and the exit code is 1 in the end.
    """
    signals.unwind_on_sigterm()
    taken = failed = 0
    with open_client(role, db) as bus:
        for message in bus.listen(timeout_s=timeout):
            taken += 1
            if command is None:
                echo_message(message, as_json)
            else:
                failed += not _run(command, message)
            if taken == count:
                break
    if count is not None and taken < count:
        raise click.ClickException(f"only {taken} of {count} messages came within {timeout:g} s")
    return GENERAL if failed else 0


def _run(command: str, message: Message) -> bool:
    """Hand a message to a shell command; nothing of its text ever becomes part of the command line."""
    sys.stdout.flush()
    text = json.dumps(message.as_dict()) + "\n"
    done = subprocess.run(command, shell=True, input=text, text=True, check=False)  # noqa: S602 the user's own command
    if done.returncode:
        click.echo(f"error: {escape(command)}: exit status {done.returncode} on message #{message.id}", err=True)
    return done.returncode == 0
