"""What a relay costs: for mail that stays on its host, while nothing happens, and in memory."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

from raven import BusClient
from scripts.benchmarks.idle import cpu_percent
from scripts.benchmarks.interleave import interleave_sides
from scripts.benchmarks.link.pair import TEXT, Pair, is_possible, nats_server
from scripts.benchmarks.metric import Metric, at_most

_BURST = 5000
_LOCAL = "local:bench"


def run_local(folder: Path, quick: bool) -> list[Metric]:
    """Measure send + claim + ack on a bus with a relay and on one without, by CPU time, that of the relay included."""
    if not is_possible("link-local"):
        return []
    rounds, count = (6, 500) if quick else (16, 1500)
    with (
        nats_server(folder) as server,
        Pair(folder, server.url) as pair,
        BusClient.at(_LOCAL, str(pair.db)) as linked,
        BusClient.at(_LOCAL, str(folder / "bus.db")) as alone,
    ):
        sides = interleave_sides(
            {
                "with a link": lambda: cost_us(linked, count, pair),
                "without": partial(cost_us, alone, count),
            },
            rounds,
            "us",
        )
    name = "link: CPU time of send + claim + ack on one host, that of its relay included, against a bus without a link"
    return [Metric.ratio(name, sides["with a link"], sides["without"], at_most(1.05))]


def run_idle(folder: Path, quick: bool) -> list[Metric]:
    """Measure a relay that has carried a few messages, and again after a burst of mail in one direction."""
    if not is_possible("link-idle"):
        return []
    rounds, seconds = (2, 3.0) if quick else (3, 10.0)
    shares = []
    with nats_server(folder) as server, Pair(folder, server.url) as pair:
        for _ in range(10):
            pair.send()
        pair.report()
        time.sleep(1)  # excludes the start of the relays
        for _ in range(rounds):
            shares.append(cpu_percent(pair.cpu_s, seconds))
        idle_mib = pair.memory_mib()
        pair.send_all(_BURST)
        pair.report()
        time.sleep(2)  # the receipts go home, and the last card is put
        burst_mib = pair.memory_mib()
    name = "link: a relay while nothing happens:"
    return [
        Metric.of(f"{name} CPU", [max(both) for both in shares], "%", at_most(1), note="the busier one of two"),
        Metric.of(f"{name} memory", [max(idle_mib)], "MiB", at_most(40), note="the larger one of two"),
        Metric.of(f"{name} memory after a burst of {_BURST:,} messages", [max(burst_mib)], "MiB", at_most(40)),
    ]


def cost_us(bus: BusClient, count: int, pair: Pair | None = None) -> float:
    """Send, claim and ack messages; return the CPU time of each, in microseconds, with that of the sender's relay."""
    before, relay_before = time.process_time(), pair.cpu_s()[0] if pair else 0.0
    for _ in range(count):
        bus.send(_LOCAL, "work", {"text": TEXT})
        for message in bus.claim():
            bus.ack(message.id)
    relay_s = pair.cpu_s()[0] - relay_before if pair else 0.0
    return (time.process_time() - before + relay_s) / count * 1e6
