"""The `raven` command: finds the subcommand, and turns every mistake into one line and an exit code."""

from __future__ import annotations

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
    "ack": "raven.cli.mail",
    "completion": "raven.cli.completion",
    "doctor": "raven.cli.doctor",
    "inbox": "raven.cli.mail",
    "init": "raven.cli.setup",
    "peers": "raven.cli.peers",
    "prune": "raven.cli.prune",
    "read": "raven.cli.mail",
    "send": "raven.cli.send",
    "session": "raven.cli.setup",
    "subscribe": "raven.cli.subscribe",
    "tail": "raven.cli.tail",
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


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Message bus for agent processes on one host: one SQLite file, no broker.

    The bus is found by --db, then RAVEN_DB, then raven.yaml here or above, then ~/.raven/bus.db.

    Exit codes: 0 ok, 1 general, 2 usage or configuration, 3 database, 4 message not found, 5 schema validation,
    6 unknown session or role, 7 cannot bind.
    """
    if os.environ.get("NO_COLOR"):
        ctx.color = False


def main() -> NoReturn:
    """Run the command line: the one error boundary."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:  # noqa: PLR0911 one return a kind of mistake
    """Run one command and return its exit code; a mistake is one line `error: ...` on stderr."""
    try:
        result: Any = cli.main(arguments, prog_name="raven", standalone_mode=False)
        sys.stdout.flush()
    except RavenError as error:
        return _fail(str(error), exit_code_of(error))
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return USAGE
    except click.UsageError as error:
        hint = f" (see `{error.ctx.command_path} --help`)" if error.ctx else ""
        return _fail(error.format_message() + hint, USAGE)
    except click.ClickException as error:
        return _fail(error.format_message(), GENERAL)
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output is gone, as `head` is when it has enough: no mistake, and nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}", GENERAL)
    return result if isinstance(result, int) else 0


def _fail(message: str, code: int) -> int:
    click.echo(f"{click.style('error:', fg='red')} {escape(' '.join(message.split()))}", err=True)
    return code
