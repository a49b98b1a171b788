"""Metrics: the figures of the bus and of its server, as Prometheus text.

https://prometheus.io/docs/instrumenting/exposition_formats/, version 0.0.4.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from raven.model.status import Stats

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
# Each address makes seven lines. On a larger bus those with the most mail are shown, and the sums are of all.
MAX_ADDRESSES = 1000
_STATES = ("ready", "delayed", "in_flight", "held", "dead")
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
_Sample = tuple[Mapping[str, str], float | int]


def render(stats: Stats | None, server: Mapping[str, Any], answered: Mapping[tuple[str, int], int]) -> str:
    """Return the metrics of a bus, without `stats` if its file cannot be read, and of the server.

    `server` are the counters that `/stats` shows, and `answered` the requests by route and status.
    """
    families = [
        _family("raven_up", "gauge", "Whether the bus can be read.", [({}, int(stats is not None))]),
        _family("raven_info", "gauge", "The version of raven.", [({"version": server["version"]}, 1)]),
        *(_of_bus(stats) if stats is not None else ()),
        *_of_server(server, answered),
    ]
    return "".join(families)


def _of_bus(stats: Stats) -> Iterable[str]:
    shown = sorted(stats.addresses, key=lambda one: (-one.backlog - one.in_flight - one.held - one.dead, one.address))
    shown = sorted(shown[:MAX_ADDRESSES], key=lambda one: one.address)
    ages = [one.oldest_s for one in stats.addresses if one.oldest_s is not None]
    yield _family(
        "raven_deliveries",
        "gauge",
        "Unfinished and dead deliveries of the bus, by state.",
        [({"state": state}, getattr(stats, state)) for state in _STATES],
    )
    yield _family("raven_oldest_seconds", "gauge", "The age of the oldest ready message.", [({}, max(ages, default=0))])
    yield _family(
        "raven_rate",
        "gauge",
        "Deliveries per second over the last minute, by what happened to them.",
        [({"event": event}, rate) for event, rate in stats.rates._asdict().items()],
    )
    yield _family("raven_addresses", "gauge", "Addresses with mail or registered.", [({}, len(stats.addresses))])
    yield _family(
        "raven_address_deliveries",
        "gauge",
        f"Unfinished and dead deliveries of the {MAX_ADDRESSES:,} addresses with the most, by state.",
        [({"address": one.address, "state": state}, getattr(one, state)) for one in shown for state in _STATES],
    )
    yield _family(
        "raven_address_oldest_seconds",
        "gauge",
        "The age of the oldest ready message of an address.",
        [({"address": one.address}, one.oldest_s) for one in shown if one.oldest_s is not None],
    )
    yield _family(
        "raven_address_waiting",
        "gauge",
        "Subscribers that wait at an address.",
        [({"address": one.address}, one.waiting) for one in shown],
    )
    yield _family(
        "raven_file_bytes",
        "gauge",
        "The size of the bus file, of its WAL, and of the space in the file that prune can release.",
        [({"part": part}, getattr(stats, f"{part}_bytes")) for part in ("file", "wal", "free")],
    )


def _of_server(server: Mapping[str, Any], answered: Mapping[tuple[str, int], int]) -> Iterable[str]:
    yield _family(
        "raven_http_requests_total",
        "counter",
        "Answered requests, by route and status.",
        [({"route": route, "status": str(status)}, count) for (route, status), count in sorted(answered.items())],
    )
    if "connections" in server:
        text = "Open connections, event streams included."
        yield _family("raven_http_connections", "gauge", text, [({}, server["connections"])])
    yield _family("raven_http_streams", "gauge", "Open event streams.", [({}, server["streams"])])
    yield _family("raven_commits_total", "counter", "Commits of this server.", [({}, server["commits"])])
    yield _family(
        "raven_jobs",
        "gauge",
        "Jobs that wait for a thread of this server or run in it.",
        [({"thread": name}, server[f"waiting_{key}"]) for name, key in _THREADS],
    )
    yield _family("raven_uptime_seconds", "gauge", "Seconds since this server started.", [({}, server["uptime_s"])])


_THREADS = (("writer", "writes"), ("reader", "reads"), ("admin", "upkeep"))


def _family(name: str, kind: Literal["counter", "gauge"], help: str, samples: Iterable[_Sample]) -> str:
    lines = [f"# HELP {name} {help}", f"# TYPE {name} {kind}"]
    for labels, value in samples:
        pairs = ",".join(f'{label}="{text.translate(_ESCAPES)}"' for label, text in labels.items())
        lines.append(f"{name}{{{pairs}}} {value}" if pairs else f"{name} {value}")
    return "\n".join(lines) + "\n"
