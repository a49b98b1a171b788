"""Settings of the link: which server, under which name, and what is shared; from options, environment, raven.yaml."""

# Without `from __future__ import annotations`: a NamedTuple would compile the text of each type when it is made.

import os
import re
import socket
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from raven.config import FILE_NAME, Config, Durability
from raven.errors import ConfigError, abbreviate
from raven.model.address import MAX_LENGTH
from raven.model.limits import is_integer

_VARIABLES = {"url": "RAVEN_LINK_URL", "creds": "RAVEN_LINK_CREDS"}
_NAME = re.compile(r"[a-z0-9-]{1,40}")
_DOMAIN = re.compile(r"[A-Za-z0-9_-]{1,64}")
_USER = re.compile(r"^([A-Za-z]+://)?.*@", re.DOTALL)
_PORT = 4222
_MAX_URLS = 64
_MAX_PATTERNS = 1000
_RIVALS = {"creds": "nkey", "nkey": "creds"}


class LinkSettings(NamedTuple):
    """The settings of one relay, checked; paths are absolute.

    `urls` may hold passwords: show `servers` instead. `accept` maps a host to patterns of the senders that it may
    name, and a host that it lacks may name none; None: any host may name any sender. At most `window` frames, and
    `window_bytes` of them, wait for the confirmation of one other host. `replicas` and `stream_bytes` are for a stream
    that the relay makes; without `replicas` it has three in a cluster, else one.
    """

    name: str
    urls: tuple[str, ...]
    realm: str = "main"
    sessions: tuple[str, ...] = ("*",)
    accept: Mapping[str, tuple[str, ...]] | None = None
    creds: str | None = None
    nkey: str | None = None
    tls_ca: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    js_domain: str | None = None
    window: int = 2000
    window_bytes: int = 8 << 20
    durability: Durability = "full"
    replicas: int | None = None
    stream_bytes: int = 1 << 30

    @property
    def servers(self) -> str:
        """The URLs without users and passwords, for messages."""
        return ", ".join(map(without_user, self.urls))


def load(config: Config, options: Mapping[str, Any] | None = None) -> LinkSettings:
    """Return the settings of the link; an option comes before the environment, and that before raven.yaml.

    `options` maps keys to values; None counts as not given. Raises ConfigError that names the source and the value.
    """
    settings: dict[str, Any] = {}
    for source in _sources(config, options or {}):
        for key, value in source.values.items():
            settings[key] = _check(key, value, source)
        for key in source.values.keys() & _RIVALS.keys():
            rival = _RIVALS[key]
            if rival in source.values:
                raise ConfigError(f"{source.name_of(key)} and {rival} are both set: use one of the two")
            settings.pop(rival, None)  # of a source that counts less
    for key, partner in (("tls_cert", "tls_key"), ("tls_key", "tls_cert")):
        if key in settings and partner not in settings:
            raise ConfigError(f"link.{key} is set, but link.{partner} is not: set both or neither")
    if "url" not in settings:
        raise ConfigError(
            "no NATS server is named: use `raven link nats://HOST:4222`, RAVEN_LINK_URL, or `link: {url: ...}` in "
            "raven.yaml"
        )
    if "name" not in settings:
        settings["name"] = _own_name(socket.gethostname())
    return LinkSettings(urls=settings.pop("url"), **settings)


def without_user(url: str) -> str:
    """Return a URL of a server without user and password."""
    return _USER.sub(r"\1", url)


def is_name(value: object) -> bool:
    """Whether a value can name a host or a realm: 1 to 40 of a-z, 0-9 and the hyphen."""
    return isinstance(value, str) and bool(_NAME.fullmatch(value))


class _Source(NamedTuple):
    """Values by key, the folder at which their relative paths start, and the function that names a key for an error."""

    values: Mapping[str, Any]
    folder: str
    name_of: Callable[[str], str]


def _sources(config: Config, options: Mapping[str, Any]) -> list[_Source]:
    """Return raven.yaml, the environment and the options, of which each counts more than the one before it."""
    if not isinstance(config.link, Mapping):
        raise ConfigError(f"link is {abbreviate(config.link)}, but must be a mapping of {', '.join(_KEYS)}")
    file = config.file or FILE_NAME
    for key in config.link:
        if key not in _KEYS:
            raise ConfigError(f"{file}: link: the key {abbreviate(key)} is not known: use {', '.join(_KEYS)}")
    variables = {key: os.environ.get(name) or None for key, name in _VARIABLES.items()}
    return [
        _Source({key: value for key, value in values.items() if value is not None}, folder, name_of)
        for values, folder, name_of in (
            (config.link, os.path.dirname(file), lambda key: f"{file}: link.{key}"),
            (variables, "", lambda key: f"the environment variable {_VARIABLES[key]}"),
            (options, "", lambda key: "URL" if key == "url" else f"--{key.replace('_', '-')}"),
        )
    ]


def _check(key: str, value: Any, source: _Source) -> Any:
    """Return a value as the settings hold it; raises ConfigError that shows it, without a password."""
    convert, wanted = _KEYS[key]
    is_path = convert is _file and isinstance(value, str) and bool(value)
    converted = convert(os.path.join(source.folder, os.path.expanduser(value)) if is_path else value)
    if converted is None:
        shown = [without_user(item) if isinstance(item, str) else item for item in _items(value)]
        value = shown if isinstance(value, list | tuple) else shown[0]
        raise ConfigError(f"{source.name_of(key)} is {abbreviate(value)}, but must be {wanted}")
    return converted


def _items(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _own_name(hostname: str) -> str:
    """Return the name of a host by its host name; raises ConfigError if that tells hosts not apart."""
    name = re.sub("[^a-z0-9]+", "-", hostname.partition(".")[0].lower()).strip("-")[:40].strip("-")
    if not name or name == "localhost":
        raise ConfigError(f"the host name {abbreviate(hostname)} names no host: use --name, or link.name in raven.yaml")
    return name


def _urls(value: Any) -> tuple[str, ...] | None:
    texts = value.split(",") if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not 0 < len(texts) <= _MAX_URLS:
        return None
    urls = [_url(text) for text in texts]
    return tuple(url for url in urls if url) if all(urls) else None


def _url(text: Any) -> str | None:
    """Return a URL with its scheme and port; None for a text that is not one of a NATS server."""
    if not isinstance(text, str) or not (text := text.strip()) or not text.isprintable() or " " in text:
        return None
    try:
        url = urlsplit(text if "://" in text else f"nats://{text}")
        port = url.port
    except ValueError:
        return None
    if url.scheme not in ("nats", "tls") or not url.hostname or port == 0 or url.path.strip("/") or url.query:
        return None
    if url.fragment:
        return None
    return f"{url.scheme}://{url.netloc}" + ("" if port else f":{_PORT}")


def _file(value: Any) -> str | None:
    path = os.path.abspath(value) if isinstance(value, str) and value and "\0" not in value else ""
    return path if os.path.isfile(path) and os.access(path, os.R_OK) else None


def _patterns(value: Any, colons: int) -> tuple[str, ...] | None:
    """Return patterns of sessions (`colons` 0) or addresses (1), one or a list; None if one is malformed."""
    patterns = _items(value)
    if not 0 < len(patterns) <= _MAX_PATTERNS:
        return None
    for text in patterns:
        if not isinstance(text, str) or not 0 < len(text) <= MAX_LENGTH or not text.isprintable():
            return None
        if text.count(":") != colons or any(not part or part != part.strip() for part in text.split(":")):
            return None
    return tuple(dict.fromkeys(patterns))


def _accepted(value: Any) -> dict[str, tuple[str, ...]] | None:
    if not isinstance(value, dict) or not all(map(is_name, value)):
        return None
    accepted = {host: _patterns(patterns, 1) for host, patterns in value.items()}
    return {host: patterns for host, patterns in accepted.items() if patterns} if all(accepted.values()) else None


def _one_of(*choices: str) -> Callable[[Any], Any]:
    return lambda value: value if isinstance(value, str) and value in choices else None


def _whole(low: int, high: int) -> Callable[[Any], Any]:
    return lambda value: value if is_integer(value, low, high) else None


def _matching(pattern: re.Pattern[str]) -> Callable[[Any], Any]:
    return lambda value: value if isinstance(value, str) and pattern.fullmatch(value) else None


_NAME_WANTED = "1 to 40 of a-z, 0-9 and -"
_FILE_WANTED = "the path of a file that this user can read"
# Of each key: the function that returns its value as the settings hold it, or None, and the words for a good value.
_KEYS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "url": (_urls, "nats://HOST:PORT or tls://HOST:PORT, or a list of them"),
    "name": (_matching(_NAME), _NAME_WANTED),
    "realm": (_matching(_NAME), _NAME_WANTED),
    "sessions": (lambda value: _patterns(value, 0), "a list of sessions, as ['swarm-*']"),
    "accept": (_accepted, "hosts with the senders that each may name, as {beta: ['*:swarm-*']}"),
    "creds": (_file, _FILE_WANTED),
    "nkey": (_file, _FILE_WANTED),
    "tls_ca": (_file, _FILE_WANTED),
    "tls_cert": (_file, _FILE_WANTED),
    "tls_key": (_file, _FILE_WANTED),
    "js_domain": (_matching(_DOMAIN), "the name of a JetStream domain, 1 to 64 of letters, digits, _ and -"),
    "window": (_whole(1, 1_000_000), "a number of frames, 1 to 1,000,000"),
    "window_bytes": (_whole(1 << 16, 1 << 40), "a number of bytes, 65,536 or more"),
    "durability": (_one_of("normal", "full"), "normal or full"),
    "replicas": (_whole(1, 5), "a number of servers, 1 to 5"),
    "stream_bytes": (_whole(1 << 20, 1 << 50), "a number of bytes, 1,048,576 or more"),
}
