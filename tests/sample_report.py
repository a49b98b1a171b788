"""A report of the benchmark as one run would make it: comparisons of two and more sides, and metrics without any."""

from __future__ import annotations

from scripts.benchmarks.metric import Metric, Side, at_least, at_most, less_than
from scripts.benchmarks.report import Report

RAVEN = Side("raven", "us", (50.0, 52.0, 51.0, 56.0))
FLOOR = Side("bare apsw", "us", (40.0, 41.0, 42.0, 50.0), note="the body is encoded beforehand")
PEERS = (
    Side("litequeue", "us", (320.0, 330.0, 310.0, 340.0)),
    Side("Redis <streams> & co", "us", (210.0, 200.0, 220.0, 230.0), note="nothing reaches a disk"),
    Side("a queue whose name is longer than any column could ever be made", "us", (900.0, 905.0, 910.0, 1250.0)),
)
PROCESSES = (
    Side("four processes", "messages/s", (14_500.0, 15_200.0, 14_900.0)),
    Side("one process", "messages/s", (12_100.0, 12_400.0, 11_800.0)),
)


def make_report() -> Report:
    """Return metrics with each kind of bar, kept and missed, with sides and without."""
    metrics = {
        "send": [Metric.ratio("send against the same inserts", RAVEN, FLOOR, at_most(1.1))],
        "trip": [
            Metric.ratio("send + claim + ack against litequeue's", RAVEN, PEERS[0], less_than(0.55)),
            Metric.of("send + claim + ack beside all", RAVEN.values, "us", sides=(RAVEN, *PEERS)),
        ],
        "drain": [
            Metric.of("a backlog, drained by one process", PROCESSES[1].values, "messages/s", at_least(10_000)),
            Metric.of("duplicated or lost", [0.0], "messages", at_most(0)),
            Metric.ratio("a backlog, by four processes against one", *PROCESSES, at_least(1)),
        ],
        "subscribers": [
            Metric.of("the worst send of sixteen processes that all send at once, while others read", [350.0], "ms"),
            Metric.of(
                "wake of one of many who wait for a message, from send to in hand, p99", [25.0], "ms", at_most(10)
            ),
            Metric.of(
                "requests of eight clients", [31_000.0, 33_000.0], "requests/s", at_least(6_000), note="pipelined"
            ),
        ],
    }
    return Report("2-core x86_64 Linux, 4 GiB, Python 3.11.2", "2025-01-31", "0.6.0", True, metrics)


def metrics_of(report: Report) -> list[Metric]:
    """Return the metrics of all benchmarks, in their order."""
    return [metric for metrics in report.metrics.values() for metric in metrics]
