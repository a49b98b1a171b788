"""An outage of the server: how fast the mail that has piled up is delivered, and what local mail feels of it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from scripts.benchmarks.link.pair import TEXT, OneHost, Pair, is_possible, nats_server
from scripts.benchmarks.metric import Metric, at_most, percentile

_PAUSE_S = 0.005
_CHUNK = 100


def run(folder: Path, quick: bool) -> list[Metric]:
    """Stop the server so that it holds its connections and answers nothing, as behind a cut cable; then let it go on.

    Meanwhile a sender and a subscriber on each host exchange local mail.
    """
    if not is_possible("link-drain"):
        return []
    outage_s, count = (3.0, 2_000) if quick else (120.0, 10_000)
    messages = [{"type": "work", "body": {"sent_ns": 0, "text": TEXT}}] * _CHUNK
    with (
        OneHost(folder / "one.db", "drained:bench") as drained,
        OneHost(folder / "one.db", "beside:bench") as beside,
    ):
        on_one_host = beside_a_backlog(drained, Local([beside]), messages * (count // _CHUNK))
    with (
        nats_server(folder) as server,
        Pair(folder, server.url) as pair,
        OneHost(pair.db, "near:bench") as near,
        OneHost(pair.far_db, "far:bench") as far,
        ThreadPoolExecutor(1) as threads,
    ):
        local = Local([near, far])
        before = local.measure(lambda: local.has_lasted(3.0))
        server.pause()
        for _ in range(count // _CHUNK):
            pair.bus.send_many([{**message, "to": pair.recipient} for message in messages])
        pair.ask_for_report()
        without = local.measure(lambda: local.has_lasted(outage_s))
        begin = time.monotonic()
        server.resume()
        report = threads.submit(lambda: (pair.read_report().ids, time.monotonic()))
        meanwhile = local.measure(report.done)
        ids, end = report.result()
    wrong = abs(count - len(set(ids))) + len(ids) - len(set(ids))
    name = f"link: {count:,} messages after an outage of {outage_s:g} s:"
    note = "the server is stopped so that it holds its connections and answers nothing"
    return [
        Metric.of(f"{name} delivered on the other host within", [end - begin], "s", at_most(10), note=note),
        Metric.of(f"{name} lost or duplicated", [wrong], "messages", at_most(0)),
        Metric.of(f"{name} local mail beside the same backlog on one host without a link, p50", [on_one_host], "times"),
        *(
            Metric.of(f"{name} local mail on the {side} host {when}, p50", [during / first], "times", bar)
            for side, first, *other in zip(("sending", "receiving"), before, without, meanwhile, strict=True)
            for when, during, bar in zip(("in the outage", "afterwards"), other, (None, at_most(1.3)), strict=True)
        ),
    ]


def beside_a_backlog(drained: OneHost, local: Local, messages: list[dict[str, Any]]) -> float:
    """Return by what local mail is slower while a subscriber of the same bus takes the mail that has piled up."""
    [before] = local.measure(lambda: local.has_lasted(3.0))
    drained.subscriber.signal(signal.SIGSTOP)
    drained.bus.send_many([{**message, "to": drained.recipient} for message in messages])
    drained.ask_for_report()
    drained.subscriber.signal(signal.SIGCONT)
    with ThreadPoolExecutor(1) as threads:
        report = threads.submit(drained.read_report)
        [meanwhile] = local.measure(report.done)
    return meanwhile / before


class Local:
    """Local mail on several hosts in turns."""

    def __init__(self, hosts: list[OneHost]) -> None:
        self._hosts = hosts
        self._began = 0.0

    def has_lasted(self, seconds: float) -> bool:
        """Whether the current measurement has lasted so long."""
        return time.monotonic() - self._began >= seconds

    def measure(self, is_over: Callable[[], bool]) -> list[float]:
        """Send one message after the other until `is_over`; returns the median latency of each host."""
        self._began = time.monotonic()
        while True:
            for host in self._hosts:
                time.sleep(_PAUSE_S)
                host.send()
            if is_over():
                return [percentile(host.report(), 50) for host in self._hosts]
