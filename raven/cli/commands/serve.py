"""`raven serve` and `raven call`: the bus over JSON-RPC on a Unix socket, and over HTTP with a live page."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from raven.cli.command import Documented
from raven.cli.main import DEFAULT_GC_THRESHOLDS
from raven.cli.options import ADDRESS, db_option, import_http, import_rpc, load_config, open_socket, socket_option
from raven.cli.output import echo_json, escape
from raven.errors import abbreviate
from raven.host.limits import ServerLimits
from raven.model import body as bodies

if TYPE_CHECKING:
    from raven_http.server.front import HttpFront

    _LimitType = click.ParamType[tuple[str, int]]
else:
    _LimitType = click.ParamType

_HTTP = "127.0.0.1:7713"


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


class _Http(NamedTuple):
    """The options for HTTP."""

    http: str | None
    port: int | None
    host: str | None
    token_file: str | None
    no_token: bool
    read_only: bool
    allowed_hosts: tuple[str, ...]
    open_page: bool

    def address(self) -> str | None:
        """Return where to listen, or None if HTTP is not asked for; raises UsageError for options in conflict."""
        if self.http is None and self.port is None:
            for name, value in {
                "--host": self.host,
                "--token-file": self.token_file,
                "--no-token": self.no_token,
                "--read-only": self.read_only,
                "--allow-host": self.allowed_hosts,
                "--open": self.open_page,
            }.items():
                if value:
                    raise click.UsageError(f"{name} is an option of HTTP: add --http")
            return None
        if self.token_file and self.no_token:
            raise click.UsageError("--token-file and --no-token exclude each other: give one")
        if self.http is not None and self.http != _HTTP and (self.host is not None or self.port is not None):
            raise click.UsageError(f"--http {abbreviate(self.http)} says where to listen: leave out --host and --port")
        if self.open_page and self.http is not None and self.http.startswith("unix:"):
            raise click.UsageError("no browser opens a Unix socket: use --open with --http HOST:PORT")
        if self.host is None and self.port is None:
            return self.http
        default_host, _, default_port = _HTTP.partition(":")
        host, port = self.host or default_host, default_port if self.port is None else self.port
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@click.command(
    cls=Documented,
    short_help="Serve the bus over JSON-RPC on a Unix socket, and over HTTP.",
    example="raven serve --as worker:s1 --socket sandbox.sock",
    exit_codes={7: "cannot bind the socket or the port: another server has it, or it cannot be used"},
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
@click.option(
    "--max-connections", type=click.IntRange(min=1), metavar="N", help="Limit of connections (1000; over HTTP 64)."
)
@click.option(
    "--limit",
    "limits",
    type=_Limit(),
    multiple=True,
    help="Set a limit of the server, see rpc/PROTOCOL.md; 0: none; repeatable.",
)
@click.option(
    "--http",
    is_flag=False,
    flag_value=_HTTP,
    metavar="[HOST:PORT|unix:PATH]",
    help=f"Serve HTTP too, with a live page, at this address ({_HTTP}) or Unix socket.",
)
@click.option("--port", type=click.IntRange(0, 65535), metavar="N", help="Serve HTTP at this port; 0: any free one.")
@click.option("--host", metavar="IP", help="Serve HTTP at this IP address; not of loopback: needs --token-file.")
@click.option("--allow-host", "allowed_hosts", metavar="NAME", multiple=True, help="Admit this `Host`; repeatable.")
@click.option("--token-file", metavar="FILE", help="Demand the token in this file (<db>.http-token).")
@click.option("--no-token", is_flag=True, help="Demand no token: any user of this machine can use the bus.")
@click.option("--read-only", is_flag=True, help="Refuse every write over HTTP.")
@click.option("--open", "open_page", is_flag=True, help="Open the live page in a browser.")
@click.option("--no-socket", is_flag=True, help="Serve over HTTP alone.")
@socket_option
@db_option
def serve(
    bound: tuple[str, ...],
    allowed_uids: tuple[int, ...],
    max_request: int | None,
    max_connections: int | None,
    limits: tuple[tuple[str, int], ...],
    no_socket: bool,
    socket: str | None,
    db: str | None,
    **http: Any,
) -> None:
    """Serve the bus over JSON-RPC 2.0 on a Unix socket (default: <db>.sock), until SIGTERM or Ctrl-C.

    Only processes of this user and of the users of --allow-uid can connect. With --as ADDRESS, a client of this socket
    can only act as ADDRESS and only sees its mail: mount such a socket into a sandbox.

    With --http also over HTTP, for curl and for browsers, which find a live page there. Each request must show the
    token in <db>.http-token, which is made if it is missing; over a Unix socket, only with --token-file.
    """
    settings = load_config(db)
    options = _Http(**http)
    address = options.address()
    if no_socket and address is None:
        raise click.UsageError("--no-socket leaves no way to the bus: add --http")
    if no_socket and socket is not None:
        raise click.UsageError("--no-socket excludes --socket: give one")
    if not no_socket:
        with import_rpc("" if address is None else ", or serve HTTP alone with --no-socket"):
            from raven_rpc.server.front import SocketFront
    if address is not None:
        with import_http():
            from raven_http.server.binding import Target
            from raven_http.server.front import HttpFront
        target = Target.parse(address)
        target.check_exposure(has_token_file=options.token_file is not None)
    from raven.host.service import Service, run_until_signal

    gc.set_threshold(*DEFAULT_GC_THRESHOLDS)
    service = Service(
        settings.db,
        bound=bound,
        busy_timeout_s=settings.busy_timeout_s,
        durability=settings.durability,
        max_body_bytes=settings.max_body_bytes,
        max_attempts=settings.max_attempts,
        retention=settings.retention,
        identity_ttl_s=settings.identity_ttl_s,
        broadcast_ttl_s=settings.broadcast_ttl_s,
        limits={**settings.limits, **dict(limits)},
    )
    common: dict[str, Any] = {"allowed_uids": allowed_uids}
    if max_connections is not None:
        common["max_connections"] = max_connections
    if max_request is not None:
        common["max_request"] = max_request
    announce: list[Callable[[], None]] = []
    if not no_socket:
        front = SocketFront(service, socket, **common)
        service.fronts.append(front)
        announce.append(lambda: click.echo(f"listening at {escape(front.address)}"))
    if address is not None:
        bridge = HttpFront(
            service,
            target,
            token_file=options.token_file,
            use_token=not options.no_token,
            read_only=options.read_only,
            allowed_hosts=options.allowed_hosts,
            **common,
        )
        service.fronts.append(bridge)
        announce.append(lambda: _announce(bridge, open_page=options.open_page))

    def ready() -> None:
        for say in announce:
            say()

    run_until_signal(service, ready)


def _announce(bridge: HttpFront, *, open_page: bool) -> None:
    """Print where the bridge is, and the file of its token. The token itself is for a terminal, not for a log."""
    click.echo(f"listening at {escape(bridge.address)}")
    if bridge.token_path is not None:
        click.echo(f"token: {escape(bridge.token_path)}")
    if bridge.page != bridge.address and sys.stdout.isatty():
        click.echo(f"page: {bridge.page}")
    if open_page:
        # A browser in the terminal runs until it is left: the server must not wait for it.
        threading.Thread(target=_open, args=(bridge.page_once(),), daemon=True).start()


def _open(url: str) -> None:
    import webbrowser

    if not webbrowser.open(url):
        click.echo(f"no browser was found: open {url} within two minutes, once", err=True)


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
