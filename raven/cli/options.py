"""Options that several commands share, and the functions that open the bus by them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from raven.errors import ConfigError, RavenError, abbreviate

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from raven.bus import Bus, BusView
    from raven.config import Config
    from raven_rpc import Client

# Time for a server that is still starting. A user should not wait much longer for the error that no server runs.
_CONNECT_TIMEOUT_S = 2.0
_MAX_CONNECT_TIMEOUT_S = 3600.0
_SOCKET = "raven.socket"
_SOCKET_HELP = "Socket of the server (else RAVEN_SOCKET, else <db>.sock)."
_SECONDS_PER_UNIT = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}

# Addresses that every shell takes as one literal word.
_SHELL_WORD = re.compile(r"(?!-)[\w.,:@%+/-]+")

Command = Callable[..., Any]

if TYPE_CHECKING:
    _TextType = click.ParamType[str]
    _SecondsType = click.ParamType[float]
else:  # generic only in newer releases of click
    _TextType = _SecondsType = click.ParamType


class AddressType(_TextType):
    """An address; the shell completes it from the registered addresses."""

    name = "address"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the registered addresses that are one literal word in a shell.

        Bash inserts a completion unquoted: it would run an address `$(...)` that another user registered.
        """
        from click.shell_completion import CompletionItem

        try:
            with open_observer(ctx.params.get("db")) as bus:
                addresses = [peer.address for peer in bus.peers() if peer.address.startswith(incomplete)]
                return [CompletionItem(address) for address in addresses if _SHELL_WORD.fullmatch(address)]
        except RavenError:
            return []


class DurationType(_SecondsType):
    """A duration: a number of seconds, or a number with the unit ms, s, m, h, d or w."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w|)", str(value))
        if match is None:
            problem = f"{abbreviate(value)} is not a duration"
            self.fail(f"{problem}: write seconds, or 500ms, 30s, 5m, 2h, 7d, 1w", param, ctx)
        return float(match[1]) * _SECONDS_PER_UNIT[match[2]]


ADDRESS = AddressType()
DURATION = DurationType()


def db_option(command: Command) -> Command:
    """Add `--db`."""
    return click.option("--db", metavar="PATH", help="Bus file (else RAVEN_DB, raven.yaml, ~/.raven/bus.db).")(command)


def socket_option(command: Command) -> Command:
    """Add `--socket` to a command that runs or calls the server."""
    return click.option("--socket", metavar="PATH", envvar="RAVEN_SOCKET", help=_SOCKET_HELP)(command)


def bus_option(command: Command) -> Command:
    """Add `--db` and `--socket`; `open_client` and `open_observer` use the one that the user chose."""
    option = click.option(
        "--socket",
        metavar="PATH",
        envvar="RAVEN_SOCKET",
        expose_value=False,
        callback=_store_socket,
        help="Use the server at this socket (else RAVEN_SOCKET, else the file).",
    )
    return option(db_option(command))


def _store_socket(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    ctx.meta[_SOCKET] = value


def address_option(help: str, *, required: bool = False) -> Callable[[Command], Command]:
    """Add `-a/--address`; the older spelling `-r/--role` is hidden and works as well."""
    new = click.option("-a", "--address", type=ADDRESS, required=required, help=help)
    old = click.option("-r", "--role", "address", type=ADDRESS, hidden=True)
    return lambda command: new(old(command))


def recipient_option(command: Command) -> Command:
    """Add `-a/--address` to a command that can infer the recipient if the message has only one."""
    return address_option("Which recipient; required if the message has several.")(command)


def lease_option(command: Command) -> Command:
    """Add `--lease`, which takes the token of a claim."""
    return click.option(
        "--lease",
        type=click.IntRange(1, (1 << 48) - 1),
        metavar="TOKEN",
        help="Lease that `raven claim` printed; fail if it is lost.",
    )(command)


def json_option(command: Command) -> Command:
    """Add `-j/--json`."""
    return click.option("-j", "--json", "as_json", is_flag=True, help="Print JSON.")(command)


def open_client(address: str, db: str | None, *, register: bool = True, create: bool = True) -> Bus:
    """Open the bus as one address, through the file or the server, with the settings of the user."""
    socket = chosen_socket(db)
    if socket is not None:
        return open_socket(socket, address)
    from raven.client import BusClient

    return BusClient.at(address, **_settings(db), register=register, create=create)


def _settings(db: str | None) -> dict[str, Any]:
    config = load_config(db)
    return {
        "db_path": config.db,
        "busy_timeout_s": config.busy_timeout_s,
        "durability": config.durability,
        "max_body_bytes": config.max_body_bytes,
        "max_attempts": config.max_attempts,
        "retention": config.retention,
        "identity_ttl_s": config.identity_ttl_s,
        "broadcast_ttl_s": config.broadcast_ttl_s,
    }


def open_recipient(address: str | None, message_id: int, db: str | None) -> Bus:
    """Open the bus as `address`, or as the only recipient of the message if `address` is None.

    Raises UsageError if `address` is None and the message has several recipients.
    """
    if address is None:
        with open_observer(db) as bus:
            recipients = bus.recipients(message_id)
        if len(recipients) != 1:
            names = ", ".join(recipients[:5]) + (", ..." if len(recipients) > 5 else "") or "no recipient"
            raise click.UsageError(f"message #{message_id} went to {names}: choose one with --address")
        address = recipients[0]
    return open_client(address, db, register=False, create=False)


def open_observer(db: str | None) -> BusView:
    """Open the bus without an address, through the file or the server, with the settings of the user."""
    socket = chosen_socket(db)
    if socket is not None:
        return open_socket(socket)
    from raven.observer import BusObserver

    config = load_config(db)
    return BusObserver(config.db, busy_timeout_s=config.busy_timeout_s)


def open_socket(path: str, address: str | None = None) -> Client:
    """Open the bus behind the socket of a server."""
    with import_rpc():
        from raven_rpc import Client
    return Client(path, address, connect_timeout_s=connect_timeout_s())


@contextmanager
def import_rpc(otherwise: str = "") -> Iterator[None]:
    """Raise ConfigError if an import inside the block fails: `raven_rpc` needs the extra `rpc`.

    `otherwise` is a second remedy, and ends the error.
    """
    try:
        yield
    except ImportError as error:
        raise ConfigError(f"cannot use the server: {error}; pip install 'raven-bus[rpc]'{otherwise}") from None


@contextmanager
def import_http() -> Iterator[None]:
    """Raise ConfigError if an import inside the block fails: `raven_http` needs the extra `http`."""
    try:
        yield
    except ImportError as error:
        raise ConfigError(f"cannot serve HTTP: {error}; pip install 'raven-bus[http]'") from None


@contextmanager
def import_link() -> Iterator[None]:
    """Raise ConfigError if an import inside the block fails: the relay of `raven.link` needs the extra `link`."""
    try:
        yield
    except ImportError as error:
        raise ConfigError(f"cannot link hosts: {error}; pip install 'raven-bus[link]'") from None


def connect_timeout_s() -> float:
    """Return RAVEN_CONNECT_TIMEOUT_S, else 2: how many seconds a command waits for a server that is still starting.

    Raises ConfigError if the variable is not a number from 0 to 3600.
    """
    text = os.environ.get("RAVEN_CONNECT_TIMEOUT_S")
    if not text:
        return _CONNECT_TIMEOUT_S
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", text) or float(text) > _MAX_CONNECT_TIMEOUT_S:
        raise ConfigError(
            f"RAVEN_CONNECT_TIMEOUT_S is {abbreviate(text)}, but must be a number of seconds from 0 to 3600"
        )
    return float(text)


def chosen_socket(db: str | None) -> str | None:
    """Return the socket of the server, or None to use the file; the flag --db overrides RAVEN_SOCKET."""
    ctx = click.get_current_context(silent=True)
    socket: str | None = ctx.meta.get(_SOCKET) if ctx is not None else None
    if ctx is None or socket is None or db is None:
        return socket
    if ctx.get_parameter_source("socket") is click.core.ParameterSource.COMMANDLINE:
        raise click.UsageError("--db and --socket exclude each other: give one of them")
    return None


def load_config(db: str | None) -> Config:
    """Load the settings, and log to stderr at their level."""
    from raven import config

    settings = config.load(db)
    if settings.log_level != "warning":
        import logging

        logging.basicConfig(format="%(levelname)s: %(message)s", level=settings.log_level.upper())
    return settings
