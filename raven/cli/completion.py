"""`raven completion`."""

from __future__ import annotations

from typing import cast

import click
from click.shell_completion import ShellComplete, get_completion_class


@click.command(short_help="Print the completion script of a shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell: `eval "$(raven completion bash)"` in its start-up file."""
    maker = cast(type[ShellComplete], get_completion_class(shell))
    click.echo(maker(ctx.find_root().command, {}, "raven", "_RAVEN_COMPLETE").source())
