"""The metrics are Prometheus text, whatever an address looks like, and show what the bus and its server do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from raven import BusClient
from raven_http.api import metrics
from tests.http_bridge import BridgeHere

Serve = Callable[..., BridgeHere]
ODD = 'a"b\\c{d},\\n=e:\U0001f600'


def read(served: BridgeHere) -> dict[tuple[str, ...], float]:
    """Return each value by the name and the label values of its sample."""
    answer = served.get("/metrics")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    families = text_string_to_metric_families(answer.text)
    return {(one.name, *one.labels.values()): one.value for family in families for one in family.samples}


def test_each_figure_is_that_of_the_bus(bridge: Serve, connect: Callable[..., BusClient]) -> None:
    boss, odd = connect("boss:s"), connect(ODD)
    for delay_s in (0, 0, 60):
        boss.send(ODD, "job", delay_s=delay_s)
    boss.send("other:s", "job", max_attempts=1)
    odd.claim()
    connect("other:s").nack(connect("other:s").claim()[0].id)
    served = bridge()
    served.get("/inbox", params={"role": "nothing"})

    figures = read(served)

    states = {state: figures["raven_address_deliveries", ODD, state] for state in ("ready", "delayed", "in_flight")}
    assert states == {"ready": 1, "delayed": 1, "in_flight": 1}
    assert figures["raven_deliveries", "dead"] == figures["raven_address_deliveries", "other:s", "dead"] == 1
    assert 0 < figures["raven_oldest_seconds",] == figures["raven_address_oldest_seconds", ODD] < 60
    assert figures["raven_http_requests_total", "/inbox", "400"] == 1
    assert (figures["raven_up",], figures["raven_addresses",]) == (1, 3)
    assert figures["raven_file_bytes", "file"] + figures["raven_file_bytes", "wal"] > 0


def test_a_large_bus_shows_its_addresses_with_the_most_mail(bridge: Serve, connect: Callable[..., BusClient]) -> None:
    boss = connect("boss:s")
    boss.send([f"w{number}:s" for number in range(metrics.MAX_ADDRESSES + 50)], "job")
    boss.send("w7:s", "job")

    figures = read(bridge())

    shown = [key for key in figures if key[0] == "raven_address_deliveries" and key[2] == "ready"]
    assert len(shown) == metrics.MAX_ADDRESSES
    assert figures["raven_address_deliveries", "w7:s", "ready"] == 2
    assert figures["raven_deliveries", "ready"] == metrics.MAX_ADDRESSES + 51


def test_without_its_file_the_server_still_has_figures(
    bridge: Serve, connect: Callable[..., BusClient], db: str
) -> None:
    connect("boss:s").send("worker:s", "job")
    served = bridge()
    Path(db).unlink()

    figures = read(served)

    assert figures["raven_up",] == 0
    assert ("raven_commits_total",) in figures
    assert ("raven_addresses",) not in figures
