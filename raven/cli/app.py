"""The commands of `raven`: finds the one that is asked for, and turns every mistake into one line and an exit code."""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import islice
from typing import Any, cast

import click

from raven.cli.exit_codes import GENERAL, INTERRUPTED, USAGE, exit_code_of
from raven.cli.output import escape
from raven.errors import RavenError

# Each command stands in a module that is imported only when it is used, so that each starts fast.
COMMANDS = {
    "ack": "raven.cli.commands.claim",
    "call": "raven.cli.commands.rpc",
    "claim": "raven.cli.commands.claim",
    "completion": "raven.cli.commands.setup",
    "dead-letters": "raven.cli.commands.dead_letters",
    "doctor": "raven.cli.commands.status",
    "extend": "raven.cli.commands.claim",
    "history": "raven.cli.commands.inbox",
    "inbox": "raven.cli.commands.inbox",
    "init": "raven.cli.commands.setup",
    "nack": "raven.cli.commands.claim",
    "peers": "raven.cli.commands.status",
    "prune": "raven.cli.commands.dead_letters",
    "read": "raven.cli.commands.inbox",
    "receipts": "raven.cli.commands.status",
    "reply": "raven.cli.commands.send",
    "request": "raven.cli.commands.send",
    "requeue": "raven.cli.commands.dead_letters",
    "send": "raven.cli.commands.send",
    "serve": "raven.cli.commands.rpc",
    "session": "raven.cli.commands.setup",
    "stats": "raven.cli.commands.status",
    "subscribe": "raven.cli.commands.subscribe",
    "tail": "raven.cli.commands.inbox",
    "thread": "raven.cli.commands.inbox",
    "top": "raven.cli.commands.top",
    "transaction": "raven.cli.commands.transaction",
    "version": "raven.cli.commands.setup",
}
# Older names of commands, which work and are not listed.
ALIASES = {"dead": "dead-letters"}


def _show_help(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(ctx.get_help(), color=ctx.color)
        ctx.exit()


# In place of click's own, which looks for a translation of its one sentence: a fortieth of a short command's time.
_help_option = click.option(
    "-h",
    "--help",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_help,
    help="Show this message and exit.",
)


@cache
def _load(name: str) -> click.Command:
    return _help_option(cast(click.Command, getattr(importlib.import_module(COMMANDS[name]), name.replace("-", "_"))))


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports the one that is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command by its name."""
        return _load(cmd_name) if cmd_name in COMMANDS else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command and its arguments.

        Options come by their long names: click looks for `-t` among those first, and on not finding it collects similar
        ones for an error that nobody sees, a thirtieth of a short command's time.
        """
        name, command, rest = super().resolve_command(ctx, [ALIASES.get(args[0], args[0]), *args[1:]])
        if command is None or isinstance(command, click.Group):
            return name, command, rest
        return name, command, list(_in_full(command, rest))

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


def _in_full(command: click.Command, args: Iterable[str]) -> Iterator[str]:
    """Yield the arguments of a command, options by their long names as far as each stands by itself."""
    options = {name: option for option in command.params if isinstance(option, click.Option) for name in option.opts}
    rest = iter(args)
    for arg in rest:
        option = options.get(arg)
        if option is not None:
            yield max(option.opts, key=len)
            yield from islice(rest, 0 if option.is_flag else option.nargs)
        else:
            yield arg
            if arg.startswith("-") and arg.partition("=")[0] not in options:
                break
    yield from rest


@_help_option
@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def cli() -> None:
    """Message bus for agent processes on one host: one SQLite file, no broker.

    The bus is found by --db, then RAVEN_DB, then raven.yaml here or above, then ~/.raven/bus.db. With --socket or
    RAVEN_SOCKET a command goes through the server that `raven serve` runs, and waits for one that is starting, for
    RAVEN_CONNECT_TIMEOUT_S seconds (2).

    Exit codes: 0 ok, 1 general, 2 usage or configuration, 3 database, 4 message not found, 5 schema validation,
    6 unknown session or role, 7 cannot bind.
    """


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code; a mistake is one line `error: ...` on stderr."""
    # click itself colours terminals only; this is https://no-color.org.
    colour = False if os.environ.get("NO_COLOR") else None
    # What a terminal or a pipe has no letters for shows as escapes: no text of a message ends a command halfway.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
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
