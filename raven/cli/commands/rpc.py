"""`raven serve` and `raven call`: the JSON-RPC server, and one call of it."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import click

from raven.cli.command import Documented
from raven.cli.main import DEFAULT_GC_THRESHOLDS
from raven.cli.options import ADDRESS, db_option, import_rpc, load_config, open_socket, socket_option
from raven.cli.output import echo_json, escape
from raven.errors import abbreviate
from raven.host.limits import ServerLimits
from raven.model import body as bodies

if TYPE_CHECKING:
    _LimitType = click.ParamType[tuple[str, int]]
else:
    _LimitType = click.ParamType


class _Limit(_LimitType):
    """A limit of the server and its number, as NAME=N."""

    name = "NAME=N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        """Return the name and the number."""
        if isinstance(value, tuple):
            return value
        name, _, number = str(value).partition("=")
        if name not in ServerLimits._fields or not (number.isascii() and number.isdecimal()):
            self.fail(f"{abbreviate(value)} is not NAME=N: the names are {', '.join(ServerLimits._fields)}", param, ctx)
        return name, int(number)


@click.command(
    cls=Documented,
    short_help="Serve the bus over JSON-RPC on a Unix socket.",
    example="raven serve --as worker:s1 --socket sandbox.sock",
    exit_codes={7: "cannot bind the socket: another server has it, or the path cannot be used"},
)
@click.option("--as", "bound", type=ADDRESS, multiple=True, help="Restrict clients to this address; repeatable.")
@click.option(
    "--allow-uid",
    "allowed_uids",
    type=click.IntRange(min=0),
    multiple=True,
    help="Admit this user; repeatable.",
)
@click.option("--max-request", type=click.IntRange(min=1024), metavar="BYTES", help="Size limit of a request (8 MiB).")
@click.option("--max-connections", type=click.IntRange(min=1), metavar="N", help="Limit of connections (1000).")
@click.option(
    "--limit",
    "limits",
    type=_Limit(),
    multiple=True,
    help="Set a limit of the server, see rpc/PROTOCOL.md; 0: none; repeatable.",
)
@socket_option
@db_option
def serve(
    bound: tuple[str, ...],
    allowed_uids: tuple[int, ...],
    max_request: int | None,
    max_connections: int | None,
    limits: tuple[tuple[str, int], ...],
    socket: str | None,
    db: str | None,
) -> None:
    """Serve the bus over JSON-RPC 2.0 on a Unix socket (default: <db>.sock), until SIGTERM or Ctrl-C.

    Only processes of this user and of the users of --allow-uid can connect. With --as ADDRESS, a client of this socket
    can only act as ADDRESS and only sees its mail: mount such a socket into a sandbox.
    """
    settings = load_config(db)
    sizes = {"max_request": max_request, "max_connections": max_connections}
    with import_rpc():
        from raven_rpc import serve as serve_bus
    gc.set_threshold(*DEFAULT_GC_THRESHOLDS)
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
        identity_ttl_s=settings.identity_ttl_s,
        broadcast_ttl_s=settings.broadcast_ttl_s,
        ready=lambda path: click.echo(f"listening at {escape(path)}"),
        limits={**settings.limits, **dict(limits)},
        **{name: size for name, size in sizes.items() if size is not None},
    )


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
