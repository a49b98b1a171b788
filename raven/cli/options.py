"""Options that several commands share, and how they open the bus."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from raven.errors import ConfigError, RavenError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from raven.bus import Bus, BusView
    from raven.config import Config
    from raven_rpc import Client

# A server may be starting just now; a person does not want to wait much longer to be told that there is none.
_CONNECT_TIMEOUT_S = 2.0
_LONGEST_CONNECT_TIMEOUT_S = 3600.0
_SOCKET = "raven.socket"
_SOCKET_HELP = "The server's socket (else RAVEN_SOCKET, else <db>.sock)."
_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}

# What stands for itself in every shell.
_ONE_WORD = re.compile(r"(?!-)[\w.,:@%+/-]+")

Command = Callable[..., Any]

if TYPE_CHECKING:
    _TextType = click.ParamType[str]
    _SecondsType = click.ParamType[float]
else:  # generic only in newer releases of click
    _TextType = _SecondsType = click.ParamType


class AddressType(_TextType):
    """An address; completed in the shell from those that are registered on the bus."""

    name = "address"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Offer the registered addresses, but for those in which a shell would see more than a word.

        Bash puts what is offered into the command line as it is: an address `$(...)` of somebody else's would be run.
        """
        from click.shell_completion import CompletionItem

        try:
            with open_observer(ctx.params.get("db")) as bus:
                offered = [p.address for p in bus.peers() if p.address.startswith(incomplete)]
                return [CompletionItem(address) for address in offered if _ONE_WORD.fullmatch(address)]
        except RavenError:
            return []


class DurationType(_SecondsType):
    """A span of time: a number of seconds, or a number with ms, s, m, h, d or w."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w|)", str(value))
        if match is None:
            self.fail(f"{value!r} is not a span of time: write seconds, or 500ms, 30s, 5m, 2h, 7d, 1w", param, ctx)
        return float(match[1]) * _UNITS[match[2]]


ADDRESS = AddressType()
DURATION = DurationType()


def db_option(command: Command) -> Command:
    """Add `--db`."""
    return click.option("--db", metavar="PATH", help="The bus file (else RAVEN_DB, raven.yaml, ~/.raven/bus.db).")(
        command
    )


def socket_option(command: Command) -> Command:
    """Add `--socket` to a command that is about the server."""
    return click.option("--socket", metavar="PATH", envvar="RAVEN_SOCKET", help=_SOCKET_HELP)(command)


def bus_option(command: Command) -> Command:
    """Add `--db` and `--socket`, the two ways to a bus; what was chosen is found by `open_client`."""
    reach = click.option(
        "--socket",
        metavar="PATH",
        envvar="RAVEN_SOCKET",
        expose_value=False,
        callback=_keep_socket,
        help="Go through the server at this socket (else RAVEN_SOCKET, else the file).",
    )
    return reach(db_option(command))


def _keep_socket(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
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
    """Add `--lease`, the token of a claim."""
    return click.option(
        "--lease",
        type=click.IntRange(1, (1 << 48) - 1),
        metavar="TOKEN",
        help="As `raven claim` printed it: refuse where the lease is lost.",
    )(command)


def json_option(command: Command) -> Command:
    """Add `-j/--json`."""
    return click.option("-j", "--json", "as_json", is_flag=True, help="Print JSON for scripts.")(command)


def open_client(address: str, db: str | None, *, register: bool = True, create: bool = True) -> Bus:
    """Open the bus as one address, with the settings of flag, environment and raven.yaml; or through a server."""
    socket = chosen_socket(db)
    if socket is not None:
        return open_socket(socket, address)
    from raven.client import BusClient

    return BusClient.at(address, **_settings(db), register=register, create=create)


def _settings(db: str | None) -> dict[str, Any]:
    found = load_config(db)
    return {
        "db_path": found.db,
        "busy_timeout_s": found.busy_timeout_s,
        "durability": found.durability,
        "max_body_bytes": found.max_body_bytes,
        "max_attempts": found.max_attempts,
        "retention": found.retention,
    }


def open_recipient(address: str | None, message_id: int, db: str | None) -> Bus:
    """Open the bus as `address`, or as the only recipient of the message if `address` is None.

    Raises UsageError if `address` is None and the message has several recipients.
    """
    if address is None:
        with open_observer(db) as bus:
            recipients = bus.recipients(message_id)
        if len(recipients) != 1:
            shown = ", ".join(recipients[:5]) + (", ..." if len(recipients) > 5 else "") or "nobody"
            raise click.UsageError(f"message #{message_id} went to {shown}: choose one with --address")
        address = recipients[0]
    return open_client(address, db, register=False, create=False)


def open_observer(db: str | None) -> BusView:
    """Open the bus to look on, with the settings of flag, environment and raven.yaml; or through a server."""
    socket = chosen_socket(db)
    if socket is not None:
        return open_socket(socket)
    from raven.observer import BusObserver

    found = load_config(db)
    return BusObserver(found.db, busy_timeout_s=found.busy_timeout_s)


def open_socket(path: str, address: str | None = None) -> Client:
    """Open the bus behind a server's socket."""
    with helper_installed():
        from raven_rpc import Client
    return Client(path, address, patience_s=connect_timeout_s())


@contextmanager
def helper_installed() -> Iterator[None]:
    """Raise ConfigError if an import of the server's package fails inside the block: it is an extra."""
    try:
        yield
    except ImportError as error:
        raise ConfigError(f"the server cannot be used: {error}; pip install 'raven-bus[rpc]'") from None


def connect_timeout_s() -> float:
    """Return how many seconds a command waits for a server that is not there yet: RAVEN_CONNECT_TIMEOUT_S, else 2.

    Raises ConfigError if that is no number from 0 to 3600.
    """
    given = os.environ.get("RAVEN_CONNECT_TIMEOUT_S")
    if not given:
        return _CONNECT_TIMEOUT_S
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", given) or float(given) > _LONGEST_CONNECT_TIMEOUT_S:
        raise ConfigError(f"RAVEN_CONNECT_TIMEOUT_S is {given!r}, but must be a number of seconds from 0 to 3600")
    return float(given)


def chosen_socket(db: str | None) -> str | None:
    """Return the server's socket if the user wants to go through it: a flag counts more than the environment."""
    ctx = click.get_current_context(silent=True)
    socket: str | None = ctx.meta.get(_SOCKET) if ctx is not None else None
    if ctx is None or socket is None or db is None:
        return socket
    if ctx.get_parameter_source("socket") is click.core.ParameterSource.COMMANDLINE:
        raise click.UsageError("--db and --socket exclude each other: give one of them")
    return None


def load_config(db: str | None) -> Config:
    """Find the settings, and let raven log at their level on stderr."""
    from raven import config

    found = config.load(db)
    if found.log_level != "warning":
        import logging

        logging.basicConfig(format="%(levelname)s: %(message)s", level=found.log_level.upper())
    return found
