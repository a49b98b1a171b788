"""Rates: how much the clients of one server may do per second; who is over it is slowed down, not refused."""

from __future__ import annotations

import time

from raven.host.admission import Admission
from raven.host.limits import ServerLimits

# Of each rate the clients may save up so many seconds.
_BURST_S = 10.0
# A connection that has asked for less than this lately is not slowed down when others are.
_FREE = 20
_BYTES_PER_UNIT = 4096


class Rates:
    """The rates of all connections together: requests, deliveries and bytes of requests per second.

    Each may go below zero by one request, however large it is; the next waits until it is back.
    """

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
