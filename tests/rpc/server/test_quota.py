"""Quotas of a bound socket: its unfinished mail, the addresses it writes to, and what it may do per second."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from raven import BusClient
from raven.host import admission
from raven.host.admission import Rates, Share
from raven.host.limits import UNBOUND
from tests.rpc_server import Line, Served
from tests.support import wait_until
from tests.thread_server import ServedHere

Serve = Callable[..., Served]


@pytest.fixture(autouse=True)
def counted_always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the unfinished mail be counted again whenever a limit is reached."""
    monkeypatch.setattr(admission, "_RECOUNT_S", 0.0)


@pytest.fixture
def critic(connect: Callable[..., BusClient]) -> BusClient:
    return connect("critic:s")


def send(line: Line, *to: str, body: Any = None) -> Any:
    return line.ask("send", {"to": list(to), "type": "t", "body": body})


def refused(line: Line, limit: str, *to: str, body: Any = None) -> None:
    error = line.error("send", {"to": list(to), "type": "t", "body": body})
    assert (error["code"], error["data"]) == (-32022, {"kind": "limit", "retryable": True})
    assert limit in error["message"]
    assert "nothing was sent" in error["message"]


def test_unfinished_mail_is_limited_until_it_is_acked(serve: Serve, critic: BusClient) -> None:
    with serve("--as", "w:s", "--limit", "unfinished=5").connect() as line:
        sent = [send(line, "critic:s")["id"] for _ in range(3)]
        send(line, "critic:s", "w:s")
        refused(line, "`unfinished` of 5", "critic:s")
        assert critic.last_id() == 4

        critic.ack(sent[0])
        critic.ack(sent[1])
        send(line, "critic:s", "w:s")
        refused(line, "`unfinished` of 5", "critic:s")


def test_a_restart_resets_no_quota(serve: Serve, critic: BusClient) -> None:
    served = serve("--as", "w:s", "--limit", "unfinished=3")
    with served.connect() as line:
        send(line, "critic:s", "x:s", "y:s")
    served.stop()
    options = ("--as", "w:s", "--limit", "unfinished=3", "--limit", "addresses=2")
    with serve(*options, socket_path=f"{served.path}.2").connect() as line:
        refused(line, "`unfinished` of 3", "critic:s")
        critic.ack(1)
        send(line, "critic:s")
        critic.ack(2)
        refused(line, "`addresses` of 2", "z:s")


def test_the_mail_of_others_counts_for_nothing(serve: Serve, critic: BusClient) -> None:
    critic.send_many([{"to": "w:s", "type": "t"}] * 50)
    with serve("--as", "w:s", "--limit", "unfinished=5").connect() as line:
        send(line, *[f"{name}:s" for name in "abcde"])
        refused(line, "`unfinished` of 5", "critic:s")


def test_the_bytes_of_unfinished_mail_are_limited(serve: Serve, critic: BusClient) -> None:
    with serve("--as", "w:s", "--limit", "unfinished_bytes=1000").connect() as line:
        send(line, "critic:s", body="x" * 600)
        refused(line, "`unfinished_bytes` of 1,000", "critic:s", body="x" * 600)
        send(line, "critic:s", body="x" * 300)
        critic.ack(1)
        send(line, "critic:s", body="x" * 600)


def test_addresses_that_are_not_registered_are_limited(serve: Serve, critic: BusClient) -> None:
    with serve("--as", "w:s", "--limit", "addresses=3").connect() as line:
        send(line, "a:s", "b:s", "critic:s", "w:s")
        send(line, "a:s", "c:s")
        refused(line, "`addresses` of 3", "d:s")
        critic.register("d:s", "a:s")
        send(line, "d:s")
        send(line, "e:s")  # in the place of a:s
        refused(line, "`addresses` of 3", "f:s")


@pytest.mark.parametrize("number", [4, 5])
def test_all_calls_of_a_request_count_before_it_is_written(serve: Serve, critic: BusClient, number: int) -> None:
    many = {"messages": [{"to": "critic:s", "type": "t"}] * number}
    calls = {"calls": [{"method": "send", "params": {"to": "critic:s", "type": "t"}}] * number}
    for index, (method, params) in enumerate((("send_many", many), ("transaction", calls))):
        with serve(
            "--as", f"w{index}:s", "--limit", "unfinished=4", socket_path=f"{critic.db_path}.{index}"
        ).connect() as line:
            if number == 4:
                line.ask(method, params)
            else:
                before = critic.last_id()
                assert "`unfinished` of 4" in line.error(method, params)["message"]
                assert critic.last_id() == before
                line.ask(method, {name: values[:4] for name, values in params.items()})


def test_a_busy_client_is_slowed_down_and_loses_nothing(serve: Serve, critic: BusClient) -> None:
    limits = ("--limit", "requests_per_s=20", "--limit", "unfinished=0")
    with serve("--as", "w:s", *limits).connect() as line:
        begin = time.monotonic()
        for number in range(250):
            line.tell("send", {"to": "critic:s", "type": "t", "body": number}, id=number)
        answers = [line.answer()["id"] for _ in range(250)]

    assert answers == list(range(250))
    assert time.monotonic() - begin > 1  # 200 at once, then 20 per second, or a fresh second's worth for each client
    assert [message.body for message in critic.inbox(max=300)] == list(range(250))


def test_a_client_that_asks_for_little_is_not_slowed_down_by_another(serve: Callable[..., ServedHere]) -> None:
    served = serve("--as", "w:s", "--limit", "requests_per_s=20")
    dispatcher = served.server.front.dispatcher
    with served.connect() as busy, served.connect() as other:
        busy.write("\n".join(['{"jsonrpc":"2.0","method":"ping","id":1}'] * 1000))
        wait_until(lambda: dispatcher.requests > 200, "the burst of the other")
        for _ in range(5):
            assert other.ask("ping") == "pong"
        assert dispatcher.requests < 900


@pytest.mark.parametrize(
    ("limit", "spend"),
    [
        ("requests_per_s", lambda share, counted: [share.spend_request(1) for _ in range(2000)]),
        ("bytes_per_s", lambda share, counted: share.spend_bytes(2000)),
        ("deliveries_per_s", lambda share, counted: (counted.count(2000, 0), share.spend_request(100))),
    ],
)
def test_each_rate_lets_a_burst_through_and_then_slows_down(limit: str, spend: Callable[..., Any]) -> None:
    counted = admission.Admission(UNBOUND)
    rates = Rates(UNBOUND._replace(**{limit: 100}), counted)
    greedy, modest = Share(rates), Share(rates)
    assert greedy.wait_s() == 0

    spend(greedy, counted)
    greedy.spend_request(100)

    assert rates.wait_s() == pytest.approx(10, abs=2)
    assert greedy.wait_s() == 1.0 or limit == "bytes_per_s"
    assert modest.wait_s() == 0
