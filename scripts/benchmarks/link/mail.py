"""Mail from one host to another: its latency and its rate, against JetStream alone and one host, and its receipt."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

from scripts.benchmarks.interleave import interleave, interleave_sides, merge_rounds, percentiles
from scripts.benchmarks.link.jetstream import JetStream
from scripts.benchmarks.link.pair import TEXT, OneHost, Pair, Way, is_possible, nats_server
from scripts.benchmarks.metric import Metric, at_least, at_most

_PAUSE_S = 0.008
_FETCH = 100
_NOTE = "both hosts and the server on this machine"


def run_latency(folder: Path, quick: bool) -> list[Metric]:
    """Measure from just before a send on one host to its delivery on the other."""
    if not is_possible("link-latency"):
        return []
    rounds, count = (3, 40) if quick else (9, 60)
    with (
        nats_server(folder) as server,
        Pair(folder, server.url) as full,
        Pair(folder, server.url, "normal", "normal") as normal,
        OneHost(folder / "bus.db") as one_host,
        JetStream(server.url) as jetstream,
    ):
        sides = {
            "raven link": partial(latencies_ms, full, count),
            'raven link, durability "normal"': partial(latencies_ms, normal, count),
            "raven on one host": partial(latencies_ms, one_host, count),
            "JetStream pull": partial(latencies_ms, jetstream, count),
        }
        measured = interleave(sides, rounds)
    link, link_normal, local, pull = percentiles(measured, 50, "ms")
    slow = percentiles(merge_rounds(measured), 99, "ms")
    name = "link: send on one host to its delivery on another"
    return [
        Metric.ratio(f"{name}, p50, against JetStream pull", link, pull, at_most(6), _NOTE),
        Metric.ratio(f'{name}, p50, relays with durability "normal"', link_normal, pull, at_most(4)),
        Metric.ratio(f"{name}, p50, against raven on one host", link, local),
        Metric.of(f"{name}, p99", slow[0].values, "ms", sides=slow),
    ]


def run_throughput(folder: Path, quick: bool) -> list[Metric]:
    """Measure from the first send to the last delivery."""
    if not is_possible("link-throughput"):
        return []
    rounds, count = (2, 1000) if quick else (5, 5000)
    with (
        nats_server(folder) as server,
        nats_server(folder, is_safe=True) as safe,
        Pair(folder, server.url) as link,
        Pair(folder, safe.url, "always") as safe_link,
        OneHost(folder / "bus.db") as one_host,
        JetStream(safe.url, _FETCH) as jetstream,
    ):
        sides = interleave_sides(
            {
                "raven link": partial(rate, link, count),
                "raven link, sync_interval: always": partial(rate, safe_link, count),
                "raven on one host": partial(rate, one_host, count),
                "JetStream pull, sync_interval: always": partial(rate, jetstream, count),
            },
            rounds,
            "messages/s",
        )
    ours, ours_safe, local, theirs = sides.values()
    name = f"link: {count:,} messages of 200 bytes, first send to last delivery"
    return [
        Metric.ratio(f"{name}, against raven on one host", ours, local, at_least(0.5), _NOTE),
        Metric.ratio(f"{name}, against JetStream pull", ours_safe, theirs, at_least(1.3)),
    ]


def run_receipt(folder: Path, quick: bool) -> list[Metric]:
    """Measure from just before a send to its receipt, which says that the other host's subscriber has acked it."""
    if not is_possible("link-receipt"):
        return []
    rounds, count = (3, 20) if quick else (9, 60)
    with nats_server(folder) as server, Pair(folder, server.url) as pair, OneHost(folder / "bus.db") as one_host:
        sides = {"raven link": partial(receipts_ms, pair, count), "one host": partial(receipts_ms, one_host, count)}
        measured = interleave(sides, rounds)
    middle = percentiles(measured, 50, "ms")
    slow = percentiles(merge_rounds(measured), 99, "ms")
    name = "link: send on one host to the receipt that another has acked the message"
    return [
        Metric.of(f"{name}, p50", middle[0].values, "ms", at_most(15), middle, _NOTE),
        Metric.of(f"{name}, p99", slow[0].values, "ms", sides=slow),
    ]


def latencies_ms(way: Way, count: int) -> list[float]:
    """Send messages with a pause before each, and return their latencies."""
    for _ in range(count):
        time.sleep(_PAUSE_S)
        way.send()
    return way.report()


def rate(way: Way, count: int) -> float:
    """Send messages as fast as possible, and return how many were delivered per second."""
    begin = time.monotonic_ns()
    last = way.send_all(count)
    latencies = way.report()
    if len(latencies) != count:
        raise RuntimeError(f"{len(latencies)} of {count} messages were delivered")
    return count / ((last - begin) / 1e9 + latencies[-1] / 1e3)


def receipts_ms(way: OneHost, count: int) -> list[float]:
    """Send messages one by one, and return the time until each is acked."""
    times = []
    for _ in range(count):
        time.sleep(_PAUSE_S)
        begin = time.perf_counter()
        message = way.bus.send(way.recipient, "work", {"sent_ns": time.monotonic_ns(), "text": TEXT})
        way.bus.wait_receipt(message.id, state="acked", timeout_s=30)
        times.append((time.perf_counter() - begin) * 1e3)
    way.report()
    return times
