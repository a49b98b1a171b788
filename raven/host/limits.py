"""Limits: how much one host may hold and its clients may do, and how many of them may wait at doorbells."""

# Without `from __future__ import annotations`: a NamedTuple would compile the text of each type when it is made.

import threading
import time
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from raven.errors import ConfigError, LimitError, abbreviate
from raven.model.limits import is_integer

_MAX = (1 << 62) - 1
# A request of so many bytes may take this many times as many while it is parsed and written.
_BYTES_PER_BYTE = 8
# A client that keeps others waiting must finish its request, or read an answer, within this time.
PATIENCE_S = 5.0

# The quota is this number of waits per allowed connection, or the minimum if that is more. One connection alone may use
# up the minimum.
_WAITS_PER_CONNECTION = 4
_MIN_QUOTA = 1000
# A doorbell takes two descriptors; the host examines it once a second.
_DESCRIPTORS_PER_WAIT = 2
# The host opens further descriptors: the bus three times, the log, the watch, the event loop.
_OTHER_DESCRIPTORS = 100
_MIN_QUOTA_WITHOUT_DESCRIPTORS = 100  # if descriptors are short: some of these waits then have no doorbell


class ServerLimits(NamedTuple):
    """The limits of a server, each a whole number; 0 means no limit.

    `deliveries` bounds the deliveries that one request or transaction may make. `values` bounds the JSON values of one
    request, and `memory` the bytes that requests and answers of all connections hold. `unfinished`, `unfinished_bytes`
    and `addresses` bound the unfinished deliveries that clients have made, the bodies of their messages, and their
    recipients that are not registered. The last three are rates per second, above which clients are slowed down.
    """

    deliveries: int = 0
    values: int = 2_000_000
    memory: int = 128 * 1024 * 1024
    unfinished: int = 0
    unfinished_bytes: int = 0
    addresses: int = 0
    requests_per_s: int = 0
    deliveries_per_s: int = 0
    bytes_per_s: int = 0

    @classmethod
    def of(cls, settings: Mapping[str, Any], *, bound: bool) -> "ServerLimits":
        """Return the limits of a server: the given settings, and the defaults of a bound or an unbound socket.

        Raises a ConfigError that names the wrong setting.
        """
        if not isinstance(settings, Mapping):
            raise ConfigError(f"limits must be a mapping of limits to numbers: use {', '.join(cls._fields)}")
        for name, value in settings.items():
            if name not in cls._fields:
                raise ConfigError(f"limits: {abbreviate(name)} is not known: use {', '.join(cls._fields)}")
            if not is_integer(value, 0, _MAX):
                raise ConfigError(f"limits: {name} is {abbreviate(value)}, but must be a whole number, 0 for no limit")
        return (BOUND if bound else UNBOUND)._replace(**settings)


UNBOUND = ServerLimits()
BOUND = ServerLimits(
    deliveries=20_000,
    values=250_000,
    unfinished=50_000,
    unfinished_bytes=64 * 1024 * 1024,
    addresses=2_000,
    requests_per_s=2_000,
    deliveries_per_s=5_000,
    bytes_per_s=8 * 1024 * 1024,
)


def check_number(name: str, value: int, least: int = 1) -> None:
    """Raise ConfigError unless a setting of a server is a whole number from `least` on."""
    if not is_integer(value, least, _MAX):
        raise ConfigError(f"{name} is {abbreviate(value)}, but must be a whole number from {least} on")


class Holder(Protocol):
    """A request that is long, or the connection that it comes from."""

    def process_input(self) -> None:
        """Go on, since there is room."""

    def end_unfinished(self) -> None:
        """End the request if it has not come as a whole: others have waited for long enough."""


class LongRequests:
    """The room for long requests of all ways into the bus: each takes its part before it is read on, until it is done.

    Requests take as much as the longest one may need, and get it in their order; one at least has room. All methods are
    for the event loop.
    """

    def __init__(self, limits: ServerLimits) -> None:
        self._room = limits.memory // _BYTES_PER_BYTE if limits.memory else 1 << 62
        self._holders: dict[Holder, tuple[int, float]] = {}  # with their sizes, and since when they have room
        self._waiting: dict[Holder, int] = {}

    def acquire(self, holder: Holder, max_request: int) -> bool:
        """Take room, and return whether there is some; otherwise the request goes on when its turn comes."""
        if holder in self._holders:
            return True
        self._waiting.setdefault(holder, max_request)
        self._hand_on()
        return holder in self._holders

    def release(self, holder: Holder) -> None:
        """Give the room back, or stop waiting for it."""
        self._waiting.pop(holder, None)
        self._holders.pop(holder, None)
        for waiting in self._hand_on():
            waiting.process_input()

    def tick(self) -> None:
        """Once a second: end the requests that have kept others waiting for too long."""
        if self._waiting:
            since = time.monotonic() - PATIENCE_S
            for holder in [holder for holder, (_, begun_at) in self._holders.items() if begun_at < since]:
                holder.end_unfinished()

    def _hand_on(self) -> list[Holder]:
        handed = []
        used = sum(size for size, _ in self._holders.values())
        for holder, size in list(self._waiting.items()):
            if self._holders and used + size > self._room:
                break
            del self._waiting[holder]
            self._holders[holder] = (size, time.monotonic())
            used += size
            handed.append(holder)
        return handed


class Answers:
    """The bytes of all long answers that are encoded and not read; any thread may add to them."""

    def __init__(self, limits: ServerLimits) -> None:
        self.limit = limits.memory // 8 or 1 << 62
        self.held = 0
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        """Count more bytes, or less."""
        with self._lock:
            self.held += count

    def is_full(self) -> bool:
        """Whether the limit is reached, so that no further answer may be made."""
        return self.held > self.limit

    def error(self) -> LimitError:
        """Return the error for a request that waits for room; it is retryable."""
        error = LimitError(
            f"clients have not read {self.held:,} bytes of answers, and {self.limit:,} is the limit, an eighth of "
            "`memory`; nothing was done: read the answers, or try again"
        )
        error.retryable = True
        return error


class WaitQuota:
    """The number of waits that one host allows: each `acquire` takes one, and `release` returns it."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._used = 0

    def acquire(self) -> None:
        """Count one more wait; raises LimitError, which is retryable, if the limit is reached."""
        if self._used >= self.limit:
            error = LimitError(
                f"{self.limit:,} subscriptions and requests of all connections wait, which is the limit: try again"
            )
            error.retryable = True
            raise error
        self._used += 1

    def release(self, count: int = 1) -> None:
        """Count `count` waits less."""
        self._used -= count


def wanted_quota(connections: int) -> int:
    """Return how many waits a host with this limit of connections should allow."""
    return max(_MIN_QUOTA, _WAITS_PER_CONNECTION * connections)


def descriptors_for(connections: int) -> int:
    """Return how many descriptors a host needs for this many connections and for all waits."""
    return connections + _DESCRIPTORS_PER_WAIT * wanted_quota(connections) + _OTHER_DESCRIPTORS


def quota_for(descriptors: float, connections: int) -> int:
    """Return how many waits a host allows if the system gives it this many descriptors."""
    remaining = (descriptors - connections - _OTHER_DESCRIPTORS) / _DESCRIPTORS_PER_WAIT
    return int(min(wanted_quota(connections), max(_MIN_QUOTA_WITHOUT_DESCRIPTORS, remaining)))
