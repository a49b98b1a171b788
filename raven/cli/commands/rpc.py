"""`raven serve` and `raven call`: the server, and one call of it."""

from __future__ import annotations

import gc
from typing import Any

import click

from raven.cli.main import STANDARD
from raven.cli.options import ADDRESS, db_option, helper_installed, load_config, open_socket, socket_option
from raven.cli.output import echo_json, escape
from raven.model import body as bodies


@click.command(short_help="Serve the bus on a Unix socket, as JSON-RPC.")
@click.option("--as", "bound", type=ADDRESS, multiple=True, help="Bind the socket to this address; several times.")
@click.option("--allow-uid", "allowed_uids", type=click.IntRange(min=0), multiple=True, help="Let this user in, too.")
@click.option("--max-request", type=click.IntRange(min=1024), metavar="BYTES", help="Longest request (8 MiB).")
@click.option("--max-connections", type=click.IntRange(min=1), metavar="N", help="Most clients at once (1000).")
@socket_option
@db_option
def serve(
    bound: tuple[str, ...],
    allowed_uids: tuple[int, ...],
    max_request: int | None,
    max_connections: int | None,
    socket: str | None,
    db: str | None,
) -> None:
    """Serve the bus on a Unix socket (default: <db>.sock), as JSON-RPC 2.0, until SIGTERM or Ctrl-C.

    Only processes of this user can connect, and those of --allow-uid. Through a socket with --as, a client can act as
    that address only, and sees no other mail: what is in a sandbox with it can be nobody else.
    """
    settings = load_config(db)
    limits = {"max_request": max_request, "max_connections": max_connections}
    with helper_installed():
        from raven_rpc import serve as serve_bus
    gc.set_threshold(*STANDARD)
    serve_bus(
        settings.db,
        socket,
        bound=bound,
        allowed_uids=allowed_uids,
        busy_timeout_s=settings.busy_timeout_s,
        durability=settings.durability,
        max_body_bytes=settings.max_body_bytes,
        max_attempts=settings.max_attempts,
        retention=settings.retention,
        ready=lambda path: click.echo(f"listening at {escape(path)}"),
        **{name: limit for name, limit in limits.items() if limit is not None},
    )


@click.command(short_help="Call a method of the server.")
@click.argument("method")
@click.argument("params", metavar="[JSON]", default="{}")
@socket_option
def call(method: str, params: str, socket: str | None) -> None:
    """Call a METHOD of the server with parameters as a JSON object or array, and print its result as JSON.

    The socket is --socket, else RAVEN_SOCKET, else that of the bus that this folder uses.
    """
    given: Any = bodies.parse(params)
    if not isinstance(given, dict | list):
        raise click.UsageError(f"the parameters {params!r} are neither an object nor an array")
    with open_socket(socket or f"{load_config(None).db}.sock") as bus:
        echo_json(bus.call(method, given))
