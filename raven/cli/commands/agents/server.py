"""`raven mcp`: its help and its completion. raven.cli.main runs it without click."""

from __future__ import annotations

import sys

import click

from raven.cli.command import Documented
from raven_mcp.command import OPTIONS, Option
from raven_mcp.command import main as run


def _option(name: str, option: Option) -> click.Option:
    return click.Option([name], is_flag=option.value is None, metavar=option.value, help=option.help)


@click.command(
    cls=Documented,
    short_help="Serve the bus to a coding agent, by MCP on stdin and stdout.",
    example="""echo '{"jsonrpc":"2.0","id":1,"method":"ping"}' | raven mcp""",
)
def mcp(**_: object) -> int:
    """Serve the bus to one session of a coding agent, by the Model Context Protocol on stdin and stdout.

    The agent's program starts it, once for each session: `raven install` tells the program so. The session gets an
    address of its own, `<role>:<session>`, each part from the first of these: --as; RAVEN_ROLE and RAVEN_SESSION;
    session in raven.yaml; the program's name, and the name of the repository or the folder. It ends when the program
    closes stdin, or dies.
    """
    return run(sys.argv[1:])


mcp.params += [_option(name, option) for name, option in OPTIONS.items()]
