"""The `raven` command: finds the subcommand, and turns every mistake into one line and an exit code."""

from __future__ import annotations

import gc
import importlib
import os
import sys
from typing import Any, NoReturn, cast

import click

from raven.cli.exit_codes import GENERAL, INTERRUPTED, USAGE, exit_code_of
from raven.cli.output import escape
from raven.errors import RavenError

# Each command stands in a module that is imported only when it is used, so that each starts fast.
COMMANDS = {
    "ack": "raven.cli.claim",
    "call": "raven.cli.call",
    "claim": "raven.cli.claim",
    "completion": "raven.cli.completion",
    "dead": "raven.cli.dead",
    "doctor": "raven.cli.doctor",
    "extend": "raven.cli.claim",
    "history": "raven.cli.conversation",
    "inbox": "raven.cli.mail",
    "init": "raven.cli.setup",
    "nack": "raven.cli.claim",
    "peers": "raven.cli.peers",
    "prune": "raven.cli.prune",
    "read": "raven.cli.mail",
    "receipts": "raven.cli.receipts",
    "reply": "raven.cli.request",
    "request": "raven.cli.request",
    "requeue": "raven.cli.dead",
    "send": "raven.cli.send",
    "serve": "raven.cli.serve",
    "session": "raven.cli.setup",
    "stats": "raven.cli.stats",
    "subscribe": "raven.cli.subscribe",
    "tail": "raven.cli.tail",
    "thread": "raven.cli.conversation",
    "top": "raven.cli.top",
    "transaction": "raven.cli.transaction",
    "version": "raven.cli.version",
}


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports the one that is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command by its name."""
        if cmd_name not in COMMANDS:
            return None
        return cast(click.Command, getattr(importlib.import_module(COMMANDS[cmd_name]), cmd_name))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; that nobody reads its output any more, or a Ctrl-C, ends it without a word."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except (KeyboardInterrupt, click.Abort):
            return INTERRUPTED
        return result


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def cli() -> None:
    """Message bus for agent processes on one host: one SQLite file, no broker.

    The bus is found by --db, then RAVEN_DB, then raven.yaml here or above, then ~/.raven/bus.db. With --socket or
    RAVEN_SOCKET a command goes through the helper that `raven serve` runs.

    Exit codes: 0 ok, 1 general, 2 usage or configuration, 3 database, 4 message not found, 5 schema validation,
    6 unknown session or role, 7 cannot bind.
    """


def main() -> NoReturn:
    """Run the command line: the one error boundary."""
    code = run(sys.argv[1:])
    # The process ends here: spare it a last collection of all that was imported, a tenth of a short command's time.
    gc.freeze()
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code; a mistake is one line `error: ...` on stderr."""
    # click itself colours terminals only; this is https://no-color.org.
    colour = False if os.environ.get("NO_COLOR") else None
    try:
        result = cli.main(arguments, prog_name="raven", standalone_mode=False, color=colour)
        return result if isinstance(result, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return USAGE
    except (RavenError, click.ClickException, OSError) as error:
        message, code = _explain(error)
        line = f"{click.style('error:', fg='red')} {escape(' '.join(message.split()))}"
        click.echo(line, err=True, color=colour)
        return code


def _explain(error: RavenError | click.ClickException | OSError) -> tuple[str, int]:
    """Return what to say of a mistake, and its exit code."""
    if isinstance(error, RavenError):
        return str(error), exit_code_of(error)
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}", GENERAL
    if isinstance(error, click.UsageError):
        hint = f" (see `{error.ctx.command_path} --help`)" if error.ctx else ""
        return error.format_message() + hint, USAGE
    return error.format_message(), GENERAL
