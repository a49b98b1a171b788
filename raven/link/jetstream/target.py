"""Target: a server to connect to, with the user, the certificates, and the words for an attempt that failed."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import nats.aio.client
import nats.errors

from raven.errors import ConfigError, ForbiddenError, RavenError, ServerError, UnreachableError, abbreviate
from raven.link.settings import LinkSettings


class Target(NamedTuple):
    """A server of the settings, or of its cluster; a user without a password is a token."""

    scheme: str
    host: str
    port: int
    tls_name: str
    user: str | None = None
    password: str | None = None

    @property
    def shown(self) -> str:
        """The server in messages, without user and password."""
        return f"{self.scheme}://{_bracketed(self.host)}:{self.port}"


class NoTLSError(Exception):
    """The server offers no TLS, which the settings demand."""


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def target_of(url: str) -> Target:
    """Return the server of a URL; raises ConfigError."""
    try:
        parts = urlsplit(url if "://" in url else f"nats://{url}")
        host, port = parts.hostname, parts.port or 4222
    except ValueError:
        host, port = None, 0
    if not host or parts.scheme not in ("nats", "tls"):
        shown = abbreviate(url.rpartition("@")[2])
        raise ConfigError(f"{shown} is no URL of a NATS server: use nats://HOST:PORT or tls://HOST:PORT")
    user, password = parts.username, parts.password
    return Target(parts.scheme, host, port, host, user and unquote(user), password and unquote(password))


def credentials(settings: LinkSettings, target: Target) -> dict[str, Any]:
    """Return the options of nats-py for the user; files are read anew, since they may have been renewed."""
    if settings.creds:
        text = _read(settings.creds, "creds")
        # nats-py reads without end in a file without a JWT.
        if "BEGIN NATS USER JWT" not in text or "BEGIN USER NKEY SEED" not in text:
            raise ConfigError(
                f"link.creds {abbreviate(settings.creds)} holds no user JWT with its seed: use a .creds file, as "
                "`nsc generate creds` makes it"
            )
        _import_nkeys()  # nats-py needs it, too
        return {"user_credentials": nats.aio.client.RawCredentials(text)}
    if settings.nkey:
        seed = _read(settings.nkey, "nkey").strip()
        nkeys = _import_nkeys()
        try:
            nkeys.from_seed(bytearray(seed.encode())).wipe()
        except Exception as error:
            raise ConfigError(
                f"link.nkey {abbreviate(settings.nkey)} holds no seed of a user: a line that begins with SU, as "
                "`nk -gen user` makes it"
            ) from error
        return {"nkeys_seed_str": seed}
    if target.user is None:
        return {}
    if target.password is None:
        return {"token": target.user}
    return {"user": target.user, "password": target.password}


def tls_options(settings: LinkSettings, target: Target) -> dict[str, Any]:
    """Return the options of nats-py for TLS; raises ConfigError for a file that is none of certificates or keys."""
    options: dict[str, Any] = {"tls_hostname": target.tls_name}
    if settings.tls_ca or settings.tls_cert:
        try:
            context = ssl.create_default_context(cafile=settings.tls_ca)
            if settings.tls_cert:
                context.load_cert_chain(settings.tls_cert, settings.tls_key)
        except (OSError, ValueError) as error:
            files = [file for file in (settings.tls_ca, settings.tls_cert, settings.tls_key) if file]
            raise ConfigError(
                f"link.tls_ca, tls_cert or tls_key: one of {abbreviate(files)} is no certificate or key ({error})"
            ) from error
        options["tls"] = context
    return options


def _import_nkeys() -> Any:
    """Return the module nkeys, which takes 1 MiB: a server without keys needs none of it."""
    try:
        import nkeys
    except ImportError as error:
        raise ConfigError(f"cannot sign for the server: {error}; pip install 'raven-bus[link]'") from None
    return nkeys


def _read(path: str, key: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text"
        raise ConfigError(f"link.{key} {abbreviate(path)} cannot be read: {reason}") from error


def connect_error(error: Exception, target: Target, settings: LinkSettings) -> RavenError:
    """Return the error of raven for an attempt to connect that failed."""
    server, text = target.shown, str(error).removeprefix("nats: ").strip("'")
    if isinstance(error, NoTLSError):
        return ForbiddenError(
            f"{server} offers no TLS, so nothing was sent: configure it there, or use nats:// without it"
        )
    if isinstance(error, ssl.SSLError):
        reason = getattr(error, "verify_message", "") or error.reason or text
        return ForbiddenError(
            f"no TLS with {server}: {reason}; check link.tls_ca, tls_cert and tls_key, and the name in its certificate"
        )
    if "auth" in text.lower():
        return ForbiddenError(f"{server} {_refusal(target, settings)} ({text})")
    if isinstance(error, OSError):
        return UnreachableError(_no_connection(error, server, settings))
    if isinstance(error, ValueError) or "info message" in text.lower():
        return ServerError(f"the program at {server} does not speak NATS: check the port in link.url")
    return ServerError(f"{server} did not take the connection: {text or abbreviate(error)}")


def _no_connection(error: OSError, server: str, settings: LinkSettings) -> str:
    if isinstance(error, ConnectionError) and not isinstance(error, ConnectionRefusedError):
        check = "link.tls_ca, tls_cert and tls_key" if settings.tls_ca else "the user"
        return f"{server} has ended the connection before it was ready; check {check}, and see its log"
    reason = "no answer in time" if isinstance(error, TimeoutError) else error.strerror or str(error)
    return f"no NATS server at {server}: {reason}; check link.url, and that the server runs"


def _refusal(target: Target, settings: LinkSettings) -> str:
    if settings.creds or settings.nkey:
        return f"does not accept {'link.creds' if settings.creds else 'link.nkey'}"
    if target.user is not None:
        return "does not accept the user in link.url"
    return "demands a user: set link.creds, link.nkey or USER:PASSWORD@ in link.url"
