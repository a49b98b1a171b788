"""`raven subscribe`, and the shell command that it can run for each message."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import click

from raven.cli.exit_codes import GENERAL
from raven.cli.options import DURATION, address_option, bus_option, json_option, open_client
from raven.cli.output import echo_message, escape
from raven.errors import DeliveryError, MessageNotFoundError
from raven.model.message import Message
from raven.wake.sigterm import raise_on_sigterm

if TYPE_CHECKING:
    from raven.bus import Bus

_LEASE_S = 30.0
_RETRY_DELAY_S = 5.0


@click.command(short_help="Take messages as they come.")
@address_option("Whose mail, <role>:<session>.", required=True)
@click.option("--exec", "command", metavar="CMD", help="Run this shell command per message, its JSON on stdin.")
@click.option("--ack", type=click.Choice(["auto", "manual"]), default="auto", show_default=True, help="See above.")
@click.option("--lease", type=DURATION, help="With manual: how soon others get what this one had when it died (30s).")
@click.option("--retry-delay", type=DURATION, help="With manual: the pause before what failed comes again (5s).")
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="Stop after N messages.")
@click.option("--timeout", type=DURATION, help="Stop after this long; exit 1 if --count was not reached.")
@json_option
@bus_option
def subscribe(
    address: str,
    command: str | None,
    ack: Literal["auto", "manual"],
    lease: float | None,
    retry_delay: float | None,
    count: int | None,
    timeout: float | None,
    as_json: bool,
    db: str | None,
) -> int:
    """Take messages as they come, and print them or hand them to a command.

    Several subscribers of one address share its messages. Each comes at most once: it is acked before it is printed,
    or before the command runs. With --ack manual it comes at least once: it is acked after it was printed, or when the
    command has ended with 0; else it is given back and comes again, until its last attempt. Where a command fails,
    or an ack comes too late, that is said on stderr and the exit code is 1 in the end.
    """
    if ack == "auto" and (lease is not None or retry_delay is not None):
        raise click.UsageError("--lease and --retry-delay are for --ack manual")
    raise_on_sigterm()
    taken = failed = 0
    with open_client(address, db) as bus:
        for message in bus.listen(ack=ack, lease_s=_LEASE_S if lease is None else lease, timeout_s=timeout):
            taken += 1
            problem = _hand_on(message, command, as_json)
            if ack == "manual":
                settled = _settle(bus, message, problem, _RETRY_DELAY_S if retry_delay is None else retry_delay)
            failed += problem is not None or (ack == "manual" and not settled)
            if taken == count:
                break
    if count is not None and taken < count:
        raise click.ClickException(f"only {taken} of {count} messages came within {timeout:g} s")
    return GENERAL if failed else 0


def _hand_on(message: Message, command: str | None, as_json: bool) -> str | None:
    """Print a message, or hand it to a shell command; nothing of its text ever becomes part of the command line.

    Returns what went wrong.
    """
    if command is None:
        echo_message(message, as_json)
        return None
    sys.stdout.flush()
    status = run_command(command, json.dumps(message.as_dict()) + "\n")
    if status == 0:
        return None
    problem = f"exit status {status}"
    _complain(f"{command}: {problem} on message #{message.id}")
    return problem


def _settle(bus: Bus, message: Message, problem: str | None, retry_delay_s: float) -> bool:
    """Ack a message, or give it back where something went wrong; returns whether that was still possible."""
    try:
        if problem is None:
            bus.ack(message.id)
        elif bus.nack(message.id, retry_delay_s, problem) == "dead":
            _complain(f"message #{message.id} is dead: that was attempt {message.attempts}, its last")
    except (DeliveryError, MessageNotFoundError) as error:
        _complain(str(error))
        return False
    return True


def _complain(text: str) -> None:
    click.echo(f"error: {escape(text)}", err=True)


def run_command(command: str, text: str) -> int:
    """Run a shell command with a text on its stdin, and return its exit status, as a shell gives it.

    What ends the wait for it (Ctrl-C, SIGTERM) ends the command, too, even in the moment of its start.
    """
    child: subprocess.Popen[str] | None = None
    try:
        with _signals_held():
            child = subprocess.Popen(command, shell=True, stdin=subprocess.PIPE, text=True)  # noqa: S602 the user's own
        child.communicate(text)
    except BaseException:
        if child is not None:
            child.kill()
            child.wait()
        raise
    # As a shell says that a signal has ended it.
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


@contextmanager
def _signals_held() -> Iterator[None]:
    """Let what would interrupt this program wait until the end of the block, where it is known what to end.

    Not by a mask: the child would inherit that, and be deaf.
    """
    came: list[int] = []
    # What is ignored stays so for the child, too.
    handlers = {
        number: handler for number in (signal.SIGINT, signal.SIGTERM) if callable(handler := signal.getsignal(number))
    }
    for number in handlers:
        signal.signal(number, lambda which, _: came.append(which))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    for which in came:
        signal.raise_signal(which)
