"""`raven call`: one call of the JSON-RPC server."""

from __future__ import annotations

from typing import Any

import click

from raven.cli.command import Documented
from raven.cli.options import load_config, open_socket, socket_option
from raven.cli.output import echo_json
from raven.errors import abbreviate
from raven.model import body as bodies


@click.command(
    cls=Documented,
    short_help="Call a JSON-RPC method of the server.",
    example="""raven call peers '{"session": "s1"}'""",
    exit_codes={1: "no server answers; for errors of the method, see the table of `raven --help`"},
)
@click.argument("method")
@click.argument("params", metavar="[JSON]", default="{}")
@socket_option
def call(method: str, params: str, socket: str | None) -> None:
    """Call METHOD with parameters as a JSON object or array (default: {}), and print its result as JSON.

    The socket is --socket, else RAVEN_SOCKET, else the socket of the bus file of this folder.
    """
    arguments: Any = bodies.parse(params)
    if not isinstance(arguments, dict | list):
        raise click.UsageError(f"the parameters {abbreviate(params)} are neither an object nor an array")
    with open_socket(socket or f"{load_config(None).db}.sock") as bus:
        echo_json(bus.call(method, arguments))
