"""Configuration: the path of the bus and its settings, from flag, environment, raven.yaml or default, in this order."""

# Without `from __future__ import annotations`: a NamedTuple would compile the text of each type when it is made.

import os
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Literal, NamedTuple

from raven.errors import ConfigError, abbreviate
from raven.files import ownership
from raven.model.limits import (
    DEFAULT_MAX_ATTEMPTS,
    DEFAULT_MAX_BYTES,
    GRACE_S,
    MAX_ATTEMPTS,
    MAX_SPAN_S,
    is_integer,
    is_number,
)

FILE_NAME = "raven.yaml"
_MAX_FILE_BYTES = 1 << 16
_MAX_ALIASES = 16
_MAX_LEVELS = 20
_MAX_REASON = 300
DEFAULT_DB = os.path.join("~", ".raven", "bus.db")
Durability = Literal["normal", "full"]

LOG_LEVELS = ("debug", "info", "warning", "error")


class Retention(NamedTuple):
    """Limits for finished messages: their age in seconds, their number, and the size of the file in bytes.

    A finished message that is beyond any of the limits is dropped, `grace_s` seconds after its last delivery finished
    at the earliest: until then its sender can still ask for its receipts.
    """

    max_age_s: float | None = None
    max_messages: int | None = None
    max_bytes: int | None = None
    grace_s: float = GRACE_S

    @classmethod
    def of(cls, limits: Mapping[str, Any]) -> "Retention | None":
        """Check limits by their names; None if no limit is set. Raises a ConfigError that names the value."""
        if not isinstance(limits, Mapping):
            raise ConfigError(f"retention is {abbreviate(limits)}, but must be limits: {', '.join(cls._fields)}")
        for name, value in limits.items():
            if name not in _LIMITS:
                raise ConfigError(f"retention: {abbreviate(name)} is not known: use {', '.join(_LIMITS)}")
            fits, wanted = _LIMITS[name]
            if value is not None and not fits(value):
                raise ConfigError(f"retention: {name} is {abbreviate(value)}, but must be {wanted}")
        retention = cls(**{name: value for name, value in limits.items() if value is not None})
        return None if retention[:3] == (None, None, None) else retention


class Config(NamedTuple):
    """The settings in use; `db_source` names the source of the bus path, for messages."""

    db: str
    db_source: str
    file: str | None = None
    log_level: str = "warning"
    busy_timeout_s: float = 5.0
    durability: Durability = "normal"
    max_body_bytes: int = DEFAULT_MAX_BYTES
    max_attempts: int = DEFAULT_MAX_ATTEMPTS
    retention: Retention | None = None
    limits: Mapping[str, int] = {}
    identity_ttl_s: float | None = None
    broadcast_ttl_s: float | None = None
    link: Mapping[str, Any] = {}
    session: str | None = None


def check_ttl(name: str, value: float | None) -> float | None:
    """Return a lifetime in seconds, None for no limit; raises ConfigError that names the setting."""
    if not _is_ttl(value):
        raise ConfigError(f"{name} is {abbreviate(value)}, but must be {_TTL}")
    return value


def load(db: str | None = None, folder: str | None = None) -> Config:
    """Find the bus and the settings; raises ConfigError that names the file and the key.

    `db` is the value of the flag. The search for raven.yaml starts at `folder`, by default the working folder, and goes
    on with its parents. A raven.yaml that another user owns or can write is an error; if `db` or RAVEN_DB names the
    bus, it is passed over with a warning. The folder of the per-user default bus is created if it is missing.
    """
    ownership.check_setting()
    file = find_file(folder or os.getcwd())
    content = _read(file) if file else None
    if isinstance(content, ownership.Distrust):
        if not db and not os.environ.get("RAVEN_DB"):
            raise ConfigError(f"{content}, or name the bus with --db or RAVEN_DB")
        import logging

        logging.getLogger("raven").warning("ignored: %s", content.problem)
        file, content = None, None
    settings = _parse(file, content) if file and content is not None else {}
    path, source = _choose_db(db, file, settings)
    log_level = os.environ.get("RAVEN_LOG_LEVEL") or settings.get("log_level", "warning")
    if not _is_log_level(log_level):
        raise ConfigError(f"log level {abbreviate(log_level)} is not known: use {', '.join(LOG_LEVELS)}")
    return Config(
        db=path,
        db_source=source,
        file=file,
        log_level=str(log_level).lower(),
        busy_timeout_s=settings.get("busy_timeout_s", 5.0),
        durability=settings.get("durability", "normal"),
        max_body_bytes=settings.get("max_body_bytes", DEFAULT_MAX_BYTES),
        max_attempts=settings.get("max_attempts", DEFAULT_MAX_ATTEMPTS),
        retention=Retention.of(settings.get("retention") or {}),
        limits=settings.get("limits") or {},
        identity_ttl_s=settings.get("identity_ttl_s"),
        broadcast_ttl_s=settings.get("broadcast_ttl_s"),
        link=settings.get("link") or {},
        session=settings.get("session"),
    )


def find_file(folder: str) -> str | None:
    """Return the raven.yaml of a folder or of its nearest parent that has one, else None."""
    folder = os.path.abspath(folder)
    while True:
        path = os.path.join(folder, FILE_NAME)
        if os.path.isfile(path):
            return path
        parent = os.path.dirname(folder)
        if parent == folder:
            return None
        folder = parent


def template(db: str) -> str:
    """Return the raven.yaml that `raven init` writes: every key with its meaning."""
    import yaml

    quoted = yaml.safe_dump(db, default_style='"', allow_unicode=True, width=1 << 20).strip()
    return f"""\
# raven: settings for every command run in this folder or below it.
# A flag overrides the environment (RAVEN_DB, RAVEN_LOG_LEVEL), which overrides this file.

# The bus file; a relative path starts at this file's folder.
db: {quoted}

# The least severe log messages on stderr: {", ".join(LOG_LEVELS)}.
log_level: warning

# How long a write waits for another writer, in seconds.
busy_timeout_s: 5

# normal: a commit survives the death of any process. full: also power loss, at the cost of a disk flush per write.
durability: normal

# The largest body of a message, in bytes of JSON.
max_body_bytes: {DEFAULT_MAX_BYTES}

# A delivery is dead after this many attempts, unless its message was sent with a number of its own.
max_attempts: 5

# Finished messages beyond these limits are dropped while the bus is in use; unfinished and dead ones always stay.
# Any of max_age_s (seconds since it was sent), max_messages (the newest are kept), max_bytes (of the file). A message
# stays for grace_s seconds after it is finished (60), so that its sender can still ask for its receipts.
retention: {{}}

# After so many seconds without use an address is forgotten: broadcasts pass over it, and its mail expires at that age.
# An address is in use while a client of it sends, receives or waits. null: an address stays until `raven forget`.
identity_ttl_s: null

# A broadcast expires after so many seconds, unless it was sent with a time of its own. null: it does not expire.
broadcast_ttl_s: null

# Limits of `raven serve` by name, in place of the defaults; 0 means no limit. rpc/PROTOCOL.md lists the names.
limits: {{}}

# How `raven link` links this bus with the buses of other hosts, over a NATS server: docs/configuration.md lists the
# keys. For example {{url: "nats://hub:4222", name: alpha, realm: lab, sessions: ["swarm-*"]}}.
link: {{}}

# The session part of the addresses of coding agents that work below this folder. null: the name of the repository.
session: null
"""


def write(path: str, text: str, *, force: bool) -> None:
    """Write a settings file that only this user can change; with `force` in place of the file or link that is there.

    Raises FileExistsError without `force` if anything is there.
    """
    temporary = f"{path}.{os.urandom(8).hex()}"
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        if force:
            os.rename(temporary, path)
        else:
            os.link(temporary, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)


def _choose_db(flag: str | None, file: str | None, settings: dict[str, Any]) -> tuple[str, str]:
    if flag:
        return os.path.abspath(os.path.expanduser(flag)), "--db"
    if os.environ.get("RAVEN_DB"):
        return os.path.abspath(os.path.expanduser(os.environ["RAVEN_DB"])), "the environment variable RAVEN_DB"
    if file and "db" in settings:
        return os.path.join(os.path.dirname(file), os.path.expanduser(settings["db"])), file
    path = os.path.expanduser(DEFAULT_DB)
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"the folder {os.path.dirname(path)} cannot be created: {error.strerror}; set RAVEN_DB"
        ) from None
    return path, "the per-user default"


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_log_level(value: Any) -> bool:
    return isinstance(value, str) and value.lower() in LOG_LEVELS


def _is_seconds(value: Any) -> bool:
    return is_number(value, 0, 3600)


def _is_count(value: Any) -> bool:
    return is_integer(value, 1, (1 << 62) - 1)


def _is_ttl(value: Any) -> bool:
    return value is None or is_number(value, 0, MAX_SPAN_S, above=True)


_TTL = "a number of seconds above 0, at most 100 years, or null for no limit"
_LIMITS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "max_age_s": (lambda value: is_number(value, 0, MAX_SPAN_S, above=True), "seconds, above 0, at most 100 years"),
    "max_messages": (_is_count, "a number of messages, 1 or more"),
    "max_bytes": (_is_count, "a number of bytes, 1 or more"),
    "grace_s": (lambda value: is_number(value, 0, MAX_SPAN_S), "seconds, 0 or more, at most 100 years"),
}

_KEYS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "db": (_is_text, "a path"),
    "log_level": (_is_log_level, f"one of {', '.join(LOG_LEVELS)}"),
    "busy_timeout_s": (_is_seconds, "a number of seconds, 0 to 3600"),
    "durability": (lambda value: value in ("normal", "full"), "normal or full"),
    "max_body_bytes": (_is_count, "a number of bytes, 1 or more"),
    "retention": (lambda value: value is None or isinstance(value, dict), f"limits: {', '.join(Retention._fields)}"),
    "limits": (lambda value: value is None or isinstance(value, dict), "limits of `raven serve` by name"),
    "max_attempts": (lambda value: is_integer(value, 1, MAX_ATTEMPTS), "a whole number, 1 to 1000000"),
    "identity_ttl_s": (_is_ttl, _TTL),
    "broadcast_ttl_s": (_is_ttl, _TTL),
    "link": (lambda value: value is None or isinstance(value, dict), "settings of `raven link` by name"),
    "session": (lambda value: value is None or _is_text(value), "a name, or null for that of the repository"),
}


def _read(path: str) -> bytes | ownership.Distrust | None:
    """Return the content of the settings file, or why the open file does not count; None if it was just removed."""
    try:
        if os.path.islink(path):  # the owner of a link chooses which file is read
            distrust = ownership.distrust_at(path, stat.S_IFLNK)
            if distrust is not None:
                return distrust
        # Another program may have put a FIFO into the file's place, which must not block.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            return ownership.distrust(path, os.fstat(file.fileno())) or file.read(_MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        distrust = ownership.distrust_at(os.path.realpath(path)) if isinstance(error, PermissionError) else None
        if distrust is not None:
            return distrust
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from None


def _load_yaml(content: bytes) -> Any:
    """Return the value of a YAML text; raises YAMLError also for a value that aliases or levels make too large."""
    import yaml

    class Loader(yaml.SafeLoader):
        aliases = levels = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            self.aliases += self.check_event(yaml.AliasEvent)
            self.levels += 1
            if self.aliases > _MAX_ALIASES or self.levels > _MAX_LEVELS:
                raise yaml.YAMLError(f"it has more than {_MAX_ALIASES} aliases or {_MAX_LEVELS} levels")
            node = super().compose_node(parent, index)
            self.levels -= 1
            return node

    return yaml.load(content, Loader)  # noqa: S506 a SafeLoader


def _parse(path: str, content: bytes) -> dict[str, Any]:
    """Return the settings that a file's content holds."""
    import yaml

    if len(content) > _MAX_FILE_BYTES:
        raise ConfigError(f"{path} has more than {_MAX_FILE_BYTES:,} bytes: remove what is not a setting")
    try:
        settings = _load_yaml(content)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())[:_MAX_REASON]}") from None
    except (ValueError, OverflowError) as error:  # of a number or a date
        raise ConfigError(f"{path} cannot be read: {str(error)[:_MAX_REASON]}") from None
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise ConfigError(f"{path} holds {type(settings).__name__}, not settings: write lines of `key: value`")
    for key, value in settings.items():
        if key not in _KEYS:
            raise ConfigError(f"{path}: the key {abbreviate(key)} is not known: use {', '.join(_KEYS)}")
        fits, wanted = _KEYS[key]
        if not fits(value):
            raise ConfigError(f"{path}: {key} is {abbreviate(value)}, but must be {wanted}")
    return settings
