"""`raven call`."""

from __future__ import annotations

from typing import Any

import click

from raven.cli.options import PATIENCE_S, helper, load_config, socket_option
from raven.cli.output import echo_json
from raven.model import body as bodies


@click.command(short_help="Call a method of the helper.")
@click.argument("method")
@click.argument("params", metavar="[JSON]", default="{}")
@socket_option
def call(method: str, params: str, socket: str | None) -> None:
    """Call a METHOD of the helper with parameters as a JSON object or array, and print its result as JSON.

    The socket is --socket, else RAVEN_SOCKET, else that of the bus that this folder uses.
    """
    given: Any = bodies.parse(params)
    if not isinstance(given, dict | list):
        raise click.UsageError(f"the parameters {params!r} are neither an object nor an array")
    with helper("Client")(socket or f"{load_config(None).db}.sock", patience_s=PATIENCE_S) as bus:
        echo_json(bus.call(method, given))
