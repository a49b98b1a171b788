"""Admission: counts the writes of a host's clients against its limits, before anything is written; and their rates."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from raven.errors import LimitError
from raven.host.limits import ServerLimits
from raven.model import body as bodies
from raven.store.transaction import Transaction

# A broadcast pattern reads all registered addresses: it counts as this many deliveries, besides its own.
PATTERN_COST = 100
# The unfinished mail is counted again when a limit is reached, but no more often than this.
_RECOUNT_S = 0.5
_MAX_KNOWN = 100_000
# Of each rate the clients may save up so many seconds.
_BURST_S = 10.0
# A connection that has asked for less than this lately is not slowed down when others are.
_FREE = 20
_BYTES_PER_UNIT = 4096


class Admission:
    """Counts the deliveries of one request at a time, and the unfinished mail of a bound socket.

    The writes of a host never run side by side. The unfinished mail is that of messages which clients of this server
    have sent, also before a restart: `load` finds it in the store. From then on each send adds to it; when a limit is
    reached, the store tells which of these messages are finished by now.
    """

    def __init__(self, limits: ServerLimits) -> None:
        self._limits = limits
        self.has_quota = bool(limits.unfinished or limits.unfinished_bytes or limits.addresses)
        self.deliveries = 0  # of this request, or transaction of several calls: set it to 0 for each
        self.answer_bytes = 0  # how long the answer to this request may be; set it for each
        self.total = 0  # of all requests
        self._sent: dict[int, tuple[int, int]] = {}  # unfinished deliveries and bytes by the id of the message
        self._unfinished = self._bytes = 0
        self._admitted = (0, 0)  # of these, deliveries and bytes that are not in `_sent` yet
        self._strangers: set[str] = set()  # recipients that are not registered
        self._admitted_strangers: set[str] = set()  # of these, recipients of messages that are not in `_sent` yet
        self._known: set[str] = set()  # registered ones
        self._counted_at = float("-inf")

    def load(self, unfinished: Iterable[tuple[int, int, int]], strangers: Iterable[str]) -> None:
        """Start with the unfinished mail in the store: (id, deliveries, bytes), and recipients not registered."""
        self._sent = {message_id: (count, size) for message_id, count, size in unfinished}
        self._strangers = set(strangers)
        self._sum()

    def count(self, recipients: int, patterns: int) -> None:
        """Count a message before it is written; raises LimitError if the request makes too many deliveries."""
        if not self.deliveries:  # an earlier request may have failed before it was recorded
            self._unfinished -= self._admitted[0]
            self._bytes -= self._admitted[1]
            self._admitted = (0, 0)
            self._strangers -= self._admitted_strangers
            self._admitted_strangers = set()
        self.deliveries += recipients + patterns * PATTERN_COST
        self.total += recipients + patterns * PATTERN_COST
        most = self._limits.deliveries
        if self.deliveries > most > 0:
            raise LimitError(
                f"over the limit `deliveries` of {most:,} for one request, in which a pattern counts as "
                f"{PATTERN_COST}; nothing was sent: send to fewer addresses at once, in several requests"
            )

    def admit(self, tx: Transaction, recipients: Sequence[str], size: int) -> None:
        """Add a message, with a body of this size, to the unfinished mail before it is written; raises LimitError."""
        if not self.has_quota:
            return
        limits = self._limits
        strangers = self._new_strangers(tx, recipients) if limits.addresses else set()
        for is_last in (False, True):
            name = ""
            if self._unfinished + len(recipients) > limits.unfinished > 0:
                name, most = "unfinished", limits.unfinished
            elif self._bytes + size > limits.unfinished_bytes > 0:
                name, most = "unfinished_bytes", limits.unfinished_bytes
            elif strangers and len(self._strangers) + len(strangers) > limits.addresses:
                name, most = "addresses", limits.addresses
            if not name:
                break
            if is_last or not self._recount(tx):
                error = LimitError(
                    f"over the limit `{name}` of {most:,} for the mail that clients of this server have sent and that "
                    "is not finished; nothing was sent: try again when recipients have acked some of it"
                )
                error.retryable = True
                raise error
        self._unfinished += len(recipients)
        self._bytes += size
        self._admitted = (self._admitted[0] + len(recipients), self._admitted[1] + size)
        self._strangers |= strangers
        self._admitted_strangers |= strangers

    def record(self, message_id: int, recipients: int, size: int) -> None:
        """Remember a message that `admit` has added."""
        if self.has_quota:
            self._sent[message_id] = (recipients, size)
            self._admitted = (self._admitted[0] - recipients, self._admitted[1] - size)
            if self._admitted == (0, 0):
                self._admitted_strangers = set()

    def _new_strangers(self, tx: Transaction, recipients: Sequence[str]) -> set[str]:
        """Return the recipients that are neither registered nor counted already."""
        new = [address for address in recipients if address not in self._known and address not in self._strangers]
        if not new:
            return set()
        registered = {row[0] for row in tx.rows("registered_among", {"addresses": bodies.encode(new)})}
        if len(self._known) > _MAX_KNOWN:
            self._known.clear()
        self._known |= registered
        return set(new) - registered

    def _recount(self, tx: Transaction) -> bool:
        """Forget the messages that have ended since the last count; returns False if that was just now."""
        now = time.monotonic()
        if now - self._counted_at < _RECOUNT_S:
            return False
        rows = tx.rows("unfinished_among", {"ids": bodies.encode(list(self._sent))})
        self._sent = {row[0]: (row[1], self._sent[row[0]][1]) for row in rows}
        self._strangers = {
            row[0] for row in tx.rows("strangers_among", {"addresses": bodies.encode(list(self._strangers))})
        }
        self._strangers |= self._admitted_strangers
        self._sum()
        self._counted_at = time.monotonic()
        return True

    def _sum(self) -> None:
        self._unfinished = self._admitted[0] + sum(count for count, _ in self._sent.values())
        self._bytes = self._admitted[1] + sum(size for _, size in self._sent.values())


class Rates:
    """The rates of all clients of a host together: requests, deliveries and bytes of requests per second.

    Each may go below zero by one request, however large it is; the next waits until it is back.
    """

    @classmethod
    def of(cls, limits: ServerLimits, admission: Admission) -> Rates | None:
        """Return the rates that the limits set; None if they set none."""
        has_rates = limits.requests_per_s or limits.deliveries_per_s or limits.bytes_per_s
        return cls(limits, admission) if has_rates else None

    def __init__(self, limits: ServerLimits, admission: Admission) -> None:
        self._per_s = (limits.requests_per_s, limits.deliveries_per_s, limits.bytes_per_s)
        self._left = [_BURST_S * rate for rate in self._per_s]
        self._admission = admission
        self._delivered = 0
        self._at = time.monotonic()

    def spend(self, requests: int, size: int) -> None:
        """Count requests and bytes."""
        self._left[0] -= requests
        self._left[2] -= size

    def wait_s(self) -> float:
        """Return for how many seconds no further request may begin; 0 if one may begin now."""
        now, total = time.monotonic(), self._admission.total
        passed, self._at = now - self._at, now
        self._left[1] -= total - self._delivered
        self._delivered = total
        wait_s = 0.0
        for index, rate in enumerate(self._per_s):
            if rate:
                left = self._left[index] = min(self._left[index] + passed * rate, _BURST_S * rate)
                wait_s = max(wait_s, -left / rate)
        return wait_s


class Share:
    """How much one connection has asked for, halved each second: a client that asks for little is not slowed down."""

    def __init__(self, rates: Rates) -> None:
        self._rates = rates
        self._spent = 0
        self._since = time.monotonic()

    def spend_bytes(self, size: int) -> None:
        """Count a line."""
        self._spent += size // _BYTES_PER_UNIT
        self._rates.spend(0, size)

    def spend_request(self, weight: int) -> None:
        """Count a request that makes about so many deliveries."""
        self._spent += weight
        self._rates.spend(1, 0)

    def spend_weight(self, weight: int) -> None:
        """Count further deliveries of a request that is counted already."""
        self._spent += weight

    def wait_s(self) -> float:
        """Return for how many seconds this connection must wait before its next request."""
        wait_s = self._rates.wait_s()
        if not wait_s:
            return 0.0
        now = time.monotonic()
        passed_s = int(now - self._since)
        if passed_s:
            self._since = now
            self._spent >>= min(passed_s, 60)
        return min(wait_s, 1.0) if self._spent > _FREE else 0.0
