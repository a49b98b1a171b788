"""Dispatch: `raven` imports the command that the user names, and turns every error into one line and an exit code."""

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

from raven.cli.command import DocumentedGroup
from raven.cli.exit_codes import GENERAL, INTERRUPTED, MEANINGS, USAGE, exit_code_of
from raven.cli.output import escape
from raven.errors import RavenError

# The commands in the groups of `raven --help`, each with its module in raven.cli.commands. A module is imported only
# when one of its commands runs, so that every command starts fast.
GROUPS = {
    "Talk": {
        "send": "send",
        "request": "send",
        "reply": "send",
        "inbox": "inbox",
        "read": "inbox",
    },
    "Work": {
        "subscribe": "subscribe",
        "claim": "claim",
        "ack": "claim",
        "nack": "claim",
        "extend": "claim",
        "transaction": "transaction",
    },
    "Look": {
        "tail": "inbox",
        "thread": "inbox",
        "history": "inbox",
        "receipts": "status",
        "peers": "status",
        "stats": "status",
        "top": "top",
    },
    "Care": {
        "init": "init",
        "session": "init",
        "forget": "init",
        "doctor": "status",
        "dead-letters": "dead_letters",
        "requeue": "dead_letters",
        "prune": "dead_letters",
        "serve": "serve",
        "link": "link",
        "call": "serve",
        "completion": "init",
        "version": "init",
    },
    "Agents": {
        "mcp": "agents.server",
        "hook": "agents.hook",
        "mute": "agents.mute",
        "install": "agents.install",
    },
}
COMMANDS = {name: module for group in GROUPS.values() for name, module in group.items()}
# Older names of commands, which work and are not listed.
ALIASES = {"dead": "dead-letters"}


def _show_help(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(ctx.get_help(), color=ctx.color)
        ctx.exit()


# Replaces click's own option, which looks up a translation of its help text: a fortieth of a short command's time.
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
    module = importlib.import_module(f"raven.cli.commands.{COMMANDS[name]}")
    return _help_option(cast(click.Command, getattr(module, name.replace("-", "_"))))


class LazyGroup(DocumentedGroup):
    """A group that knows its commands by name and imports a command when it runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command by its name; returns None if the name is unknown."""
        return _load(cmd_name) if cmd_name in COMMANDS else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands in their groups."""
        width = max(map(len, COMMANDS))
        for title, names in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), _load(name).get_short_help_str(limit=62)) for name in names])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command and its arguments, with the options by their long names.

        click looks up a short name such as `-t` among the long names first, and collects similar names for an error
        message that is then dropped: a thirtieth of a short command's time.
        """
        name, command, rest = super().resolve_command(ctx, [ALIASES.get(args[0], args[0]), *args[1:]])
        if command is None or isinstance(command, click.Group):
            return name, command, rest
        return name, command, list(_with_long_names(command, rest))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; end quietly on Ctrl-C or a closed stdout."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except (KeyboardInterrupt, click.Abort):
            return INTERRUPTED
        return result


def _with_long_names(command: click.Command, args: Iterable[str]) -> Iterator[str]:
    """Yield the arguments of a command, replacing each separate option by its long name.

    Stops replacing at the first argument that starts with `-` and is no known option: only click knows how many
    values such an argument takes.
    """
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
@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    exit_codes=MEANINGS,
    example="raven init && raven send --from a:s --to b:s -t hello && raven inbox -a b:s",
)
def cli() -> None:
    """Message bus for agent processes on one host: one SQLite file, no broker.

    The bus file is --db, else RAVEN_DB, else the db of raven.yaml in this folder or a parent, else ~/.raven/bus.db.
    With --socket or RAVEN_SOCKET a command uses the server that `raven serve` runs. It waits up to
    RAVEN_CONNECT_TIMEOUT_S seconds (2) for a server that is still starting.
    """


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code; prints an error as one line `error: ...` on stderr."""
    # click checks for a terminal but not for https://no-color.org.
    colour = False if os.environ.get("NO_COLOR") else None
    # A character that the terminal's encoding lacks is printed as an escape: no message text ends a command halfway.
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
    """Return the text of an error and its exit code."""
    if isinstance(error, RavenError):
        return str(error), exit_code_of(error)
    if isinstance(error, OSError):
        path = f"{error.filename}: " if error.filename else ""
        return f"{path}{error.strerror or error}", GENERAL
    if isinstance(error, click.UsageError):
        hint = f" (see `{error.ctx.command_path} --help`)" if error.ctx else ""
        return error.format_message() + hint, USAGE
    return error.format_message(), GENERAL
