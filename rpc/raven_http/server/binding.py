"""Binding: where the bridge listens, and the listening socket there."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from ipaddress import ip_address
from typing import NamedTuple

from raven.errors import BindError, ConfigError, abbreviate
from raven_rpc.jsonrpc.unix_socket import BACKLOG, ListeningSocket

DEFAULT_PORT = 7713
_LOOPBACK = "127.0.0.1"
_UNIX = "unix:"
_MAX_PORT = 65535


class Target(NamedTuple):
    """Where to listen: an IP address and a port, 0 for any free one, or the path of a Unix socket."""

    host: str = _LOOPBACK
    port: int = DEFAULT_PORT
    path: str | None = None

    @classmethod
    def parse(cls, text: str) -> Target:
        """Return the target of HOST:PORT, HOST, PORT, [IPv6]:PORT or unix:PATH; raises ConfigError for another text."""
        if text.startswith(_UNIX):
            if text == _UNIX:
                raise ConfigError("unix: names no path: write unix:PATH")
            return cls(path=text.removeprefix(_UNIX))
        host, port = _split(text)
        if port and not (port.isascii() and port.isdecimal() and len(port) <= 5 and int(port) <= _MAX_PORT):
            raise ConfigError(f"{abbreviate(text)}: the port {abbreviate(port)} is not a number from 0 to {_MAX_PORT}")
        return cls(checked_host(host or _LOOPBACK), int(port) if port else DEFAULT_PORT)

    @property
    def is_loopback(self) -> bool:
        """Whether only processes of this machine can connect."""
        return self.path is not None or ip_address(self.host).is_loopback

    def check_exposure(self, *, has_token_file: bool) -> None:
        """Raise ConfigError if other machines can connect, and the user has not chosen a token for them."""
        if not self.is_loopback and not has_token_file:
            raise ConfigError(
                f"other machines can reach {self.name}, so that clients must show a token of yours: "
                "give --token-file FILE, or listen at 127.0.0.1"
            )

    @property
    def name(self) -> str:
        """The host and port as a URL has them, or unix:PATH."""
        return f"{_UNIX}{self.path}" if self.path is not None else f"{self._host_of_url}:{self.port}"

    @property
    def names(self) -> list[str]:
        """The names by which clients address the host: an address that stands for all addresses is none.

        Clients leave the zone of an IPv6 address, such as %eth0, out of `Host`: it counts on their own machine alone.
        """
        if self.path is not None or ip_address(self.host).is_unspecified:
            return []
        return [f"{self._host_of_url.partition('%')[0]}]" if "%" in self.host else self._host_of_url]

    @property
    def _host_of_url(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host


def checked_host(host: str) -> str:
    """Return an IP address to listen at; the only name is localhost. Raises ConfigError."""
    if host.lower() == "localhost":
        return _LOOPBACK
    try:
        return str(ip_address(host))
    except ValueError:
        raise ConfigError(
            f"{abbreviate(host)} is not an IP address to listen at: write 127.0.0.1:{DEFAULT_PORT}, "
            f"[::1]:{DEFAULT_PORT} or unix:PATH"
        ) from None


class Listening(NamedTuple):
    """A listening socket, the target that it has in fact, and what gives it up."""

    socket: socket.socket
    target: Target
    remove: Callable[[], None]


def listen(target: Target, *, others: bool = False) -> Listening:
    """Take the socket of a target; raises BindError. With `others` any user may connect to a Unix socket."""
    if target.path is not None:
        unix = ListeningSocket(target.path, others=others)
        return Listening(unix.socket, target, unix.remove)
    family = socket.AF_INET6 if ":" in target.host else socket.AF_INET
    # asyncio lets small packets out at once (TCP_NODELAY) only if the socket names its protocol.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # A pair of host and port would lose the zone of an IPv6 address.
        [found] = socket.getaddrinfo(target.host, target.port, family, made.type, flags=socket.AI_NUMERICHOST)
        made.bind(found[4])
        made.listen(BACKLOG)
    except OSError as error:
        made.close()
        raise BindError(f"cannot listen at {target.name}: {_reason(error)}") from None
    return Listening(made, target._replace(port=made.getsockname()[1]), lambda: None)


def _split(text: str) -> tuple[str, str]:
    """Return host and port, either empty if the text lacks it."""
    if text.startswith("["):
        host, end, rest = text[1:].partition("]")
        if not host or not end or (rest and not rest.startswith(":")):
            raise ConfigError(f"{abbreviate(text)} is not [ADDRESS]:PORT")
        return host, rest[1:]
    if text.count(":") > 1:  # an IPv6 address without a port
        return text, ""
    if ":" not in text and text.isdecimal():
        return "", text
    host, _, port = text.partition(":")
    return host, port


def _reason(error: OSError) -> str:
    """Return why the system refuses a socket, and the remedy."""
    if error.errno == errno.EADDRINUSE:
        return "another program listens there: stop it, or choose another port, 0 for any free one"
    if error.errno == errno.EACCES:
        return "a port below 1024 needs root: choose another"
    if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
        return "this machine has no such address: choose another"
    return f"{error.strerror}: choose another address"
