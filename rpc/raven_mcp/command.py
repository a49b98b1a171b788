"""The commands `raven mcp` and `raven hook`, without click: agents' programs start them often."""

from __future__ import annotations

import os
import sys
from typing import NamedTuple

from raven.errors import InputError, abbreviate
from raven_mcp.options import Options

_USAGE, _FAILED = 2, 1  # raven.cli.exit_codes has all


class Option(NamedTuple):
    """An option of `raven mcp`: its field in Options, the word for its value (None: a flag), and its help."""

    field: str
    value: str | None
    help: str


# `raven mcp --help`, which click writes, has them from here.
OPTIONS = {
    "--db": Option("db", "PATH", "The bus file (RAVEN_DB, raven.yaml, ~/.raven/bus.db)."),
    "--as": Option("address", "ADDRESS", "The address of this agent, <role>:<session> (chosen for it)."),
    "--no-push": Option("pushes", None, "Never wake an idle session."),
    "--channel": Option("channel", None, "Speak only the legacy protocol, which Claude Code's channels need."),
}


def main(arguments: list[str]) -> int:
    """Run `mcp` or `hook` with its arguments, and return the exit code."""
    command, *rest = arguments
    if command == "hook":
        from raven_mcp.hooks.hook import main as run_hook

        return run_hook(rest)
    try:
        options = parse(rest)
    except InputError as error:
        return _fail(str(error), _USAGE)
    from raven_mcp.server import Server
    from raven_mcp.wire.stdio import ClosedStreamError

    if os.isatty(0):
        sys.stderr.write("raven mcp: a server for an agent's program, which speaks MCP here; Ctrl-C ends it\n")
    try:
        server = Server(options)
    except ClosedStreamError as error:
        return _fail(str(error), _FAILED)
    return server.run()


def parse(arguments: list[str]) -> Options:
    """Return the options of `raven mcp`; raises InputError."""
    values: dict[str, object] = {}
    rest = iter(arguments)
    for argument in rest:
        name, equals, value = argument.partition("=")
        option = OPTIONS.get(name)
        if option is None:
            raise InputError(f"raven mcp has no option {abbreviate(argument)}: see `raven mcp --help`")
        if option.value is None:
            if equals:
                raise InputError(f"{name} takes no value: leave out {abbreviate(equals + value)}")
            values[option.field] = name != "--no-push"
        else:
            values[option.field] = value if equals else next(rest, None)
            if not values[option.field]:
                raise InputError(f"{name} needs a value: give {name} {option.value}")
    return Options(**values)  # type: ignore[arg-type]


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"error: {message}\n")
    return code
