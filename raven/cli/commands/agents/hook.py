"""`raven hook`: its help and its completion. raven.cli.main runs it without click."""

from __future__ import annotations

import sys

import click

from raven.cli.command import Documented
from raven_mcp.command import main as run
from raven_mcp.hooks.answers import HOSTS, KINDS
from raven_mcp.hooks.hook import WAIT


@click.command(
    cls=Documented,
    short_help="Tell an agent's program of mail, as its hook.",
    example="""echo '{"session_id":"3f2a"}' | raven hook stop --host claude-code""",
    exit_codes={2: "`raven hook wait` has mail, which wakes the session; its notice is on stderr"},
)
@click.argument("event", metavar="EVENT", type=click.Choice([*KINDS, WAIT]))
@click.option("--host", metavar="HOST", type=click.Choice(HOSTS), help=f"The agent's program: {', '.join(HOSTS)}.")
@click.option("--db", metavar="PATH", help="The bus file (RAVEN_DB, raven.yaml, ~/.raven/bus.db).")
def hook(**_: object) -> int:
    """Answer a hook of an agent's program: its JSON comes in on stdin, and the answer with a notice of mail goes out.

    EVENT is session-start, prompt, after-tool, stop or session-end, or the program's own name for one. The session is
    the one that its `raven mcp` has bound; each message is told once. The exit code is 0 after an error, too, so that
    no agent is disturbed: the answer is then {}, and stderr has one line.

    With the event `wait` it waits for mail in the background, for programs whose idle sessions are woken by a hook that
    ends with the exit code 2. A session has one wait: a later one replaces it, and the end of the session ends it.
    """
    return run(sys.argv[1:])
