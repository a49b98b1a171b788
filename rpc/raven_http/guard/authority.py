"""Authority: the names under which a client may address the server, and the origins of its own pages.

A name that is not in the list is refused, although it leads here: after DNS rebinding, the page of another site reaches
this server by the name of its own site.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from raven.errors import ConfigError, abbreviate

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_ENTRY = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::([1-9][0-9]{0,4}))?")
# Browsers leave out the port of a URL if it is the default of http or of https.
_DEFAULT_PORTS = (80, 443)


class Authority(NamedTuple):
    """The names of a server at one port: each value of `Host`, with the values of `Origin` of its own pages."""

    origins: dict[bytes, frozenset[bytes]]
    # The name of the cookie and "=": cookies know no ports, so it differs for each server of a host.
    cookie: bytes
    # What a person should use, for errors.
    example: str


class Authorities:
    """The allowed names, as `name` for the server's own port or as `name:port`; raises ConfigError for another form.

    A Unix socket has no port: there the names stand alone, and `Host` may be empty or missing.
    """

    def __init__(self, allowed_hosts: Iterable[str] = LOOPBACK) -> None:
        entries = [allowed_hosts] if isinstance(allowed_hosts, str) else list(allowed_hosts)
        self._entries: list[tuple[str, int | None]] = []
        for entry in entries:
            match = _ENTRY.fullmatch(entry.lower()) if isinstance(entry, str) else None
            if match is None or int(match[2] or 1) > 65535:
                raise ConfigError(f"allowed host {abbreviate(entry)} is not NAME or NAME:PORT, such as localhost:8080")
            self._entries.append((match[1], int(match[2]) if match[2] else None))
        if not self._entries:
            raise ConfigError("no allowed host is given: no request could come in; name one, such as localhost")

    def at(self, port: int | None) -> Authority:
        """Return the names at this port; None stands for a Unix socket."""
        origins: dict[bytes, frozenset[bytes]] = {}
        for name, own_port in self._entries:
            forms = _forms(name, own_port or port)
            pages = frozenset(f"{scheme}://{form}".encode("ascii") for form in forms for scheme in ("http", "https"))
            origins.update({form.encode("ascii"): pages for form in forms})
        first = _forms(*self._entries[0][:1], self._entries[0][1] or port)[0]
        if port is None:
            return Authority({b"": frozenset(), **origins}, b"raven-token=", f"http://{first}/")
        return Authority(origins, b"raven-token-%d=" % port, f"http://{first}/")


def _forms(name: str, port: int | None) -> list[str]:
    if port is None:
        return [name]
    return [name, f"{name}:{port}"] if port in _DEFAULT_PORTS else [f"{name}:{port}"]
