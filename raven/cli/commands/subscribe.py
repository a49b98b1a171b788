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

from raven.cli.command import Documented
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


@click.command(
    cls=Documented,
    short_help="Receive messages as they arrive, or run a command for each.",
    example="raven subscribe -a worker:s1 --ack manual --exec 'jq .body' --count 1",
    exit_codes={GENERAL: "a command failed, an ack came too late, or fewer than --count messages came in time"},
)
@address_option("Address to receive for, <role>:<session>.", required=True)
@click.option("--exec", "command", metavar="CMD", help="Run this shell command per message, its JSON on stdin.")
@click.option(
    "--ack",
    type=click.Choice(["auto", "manual"]),
    default="auto",
    show_default=True,
    help="auto: ack before the command runs; manual: ack after it succeeds.",
)
@click.option("--lease", type=DURATION, help="How long a message stays leased after this process dies (30s).")
@click.option("--retry-delay", type=DURATION, help="Delay before a failed message is delivered again (5s).")
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="Stop after N messages.")
@click.option("--timeout", type=DURATION, help="Stop after this long.")
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
    """Receive messages as they arrive, and print each or run a command for it.

    Several subscribers of one address share its messages. With --ack auto a message is delivered at most once: it is
    acked before it is printed or the command runs. With --ack manual it is delivered at least once: it is acked after
    it is printed or the command ends with exit code 0. If the command fails, the message is delivered again after
    --retry-delay, until its attempts run out. --lease and --retry-delay need --ack manual.

    Failures and late acks are printed on stderr; the exit code is then 1.
    """
    if ack == "auto" and (lease is not None or retry_delay is not None):
        raise click.UsageError("--lease and --retry-delay need --ack manual")
    raise_on_sigterm()
    received = failed = 0
    with open_client(address, db) as bus:
        for message in bus.listen(ack=ack, lease_s=_LEASE_S if lease is None else lease, timeout_s=timeout):
            received += 1
            problem = _process(message, command, as_json)
            if ack == "manual":
                done = _ack_or_nack(bus, message, problem, _RETRY_DELAY_S if retry_delay is None else retry_delay)
            failed += problem is not None or (ack == "manual" and not done)
            if received == count:
                break
    if count is not None and received < count:
        raise click.ClickException(f"only {received} of {count} messages came within {timeout:g} s")
    return GENERAL if failed else 0


def _process(message: Message, command: str | None, as_json: bool) -> str | None:
    """Print a message, or pass it on stdin to a shell command; no text of it ever becomes part of the command line.

    Returns the reason of a failure, or None.
    """
    if command is None:
        echo_message(message, as_json)
        return None
    sys.stdout.flush()
    status = run_command(command, json.dumps(message.as_dict()) + "\n")
    if status == 0:
        return None
    problem = f"exit status {status}"
    _print_error(f"{command}: {problem} on message #{message.id}")
    return problem


def _ack_or_nack(bus: Bus, message: Message, problem: str | None, retry_delay_s: float) -> bool:
    """Ack a message, or nack it if `problem` is not None; returns False if it was too late for that."""
    try:
        if problem is None:
            bus.ack(message.id)
        elif bus.nack(message.id, retry_delay_s, problem) == "dead":
            _print_error(f"message #{message.id} is dead: that was attempt {message.attempts}, its last")
    except (DeliveryError, MessageNotFoundError) as error:
        _print_error(str(error))
        return False
    return True


def _print_error(text: str) -> None:
    click.echo(f"error: {escape(text)}", err=True)


def run_command(command: str, text: str) -> int:
    """Run a shell command with a text on its stdin, and return its exit status as a shell does.

    Ctrl-C or SIGTERM during the wait kills the command too, even at the moment of its start.
    """
    child: subprocess.Popen[str] | None = None
    try:
        with _deferred_signals():
            child = subprocess.Popen(command, shell=True, stdin=subprocess.PIPE, text=True)  # noqa: S602 the user's own
        child.communicate(text)
    except BaseException:
        if child is not None:
            child.kill()
            child.wait()
        raise
    # 128 + N if signal N killed the command.
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


@contextmanager
def _deferred_signals() -> Iterator[None]:
    """Defer SIGINT and SIGTERM to the end of the block, when the caller has the child process that it must kill.

    A signal mask would not do: the child would inherit it and ignore these signals.
    """
    received: list[int] = []
    # A signal that is ignored stays ignored, in the child too.
    handlers = {
        number: handler for number in (signal.SIGINT, signal.SIGTERM) if callable(handler := signal.getsignal(number))
    }
    for number in handlers:
        signal.signal(number, lambda which, _: received.append(which))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    for which in received:
        signal.raise_signal(which)
