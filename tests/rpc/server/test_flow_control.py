"""Flow control: the server pushes only as much as the window allows, and the rest stays in the file."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from raven import BusClient
from raven.host import push, service
from tests.processes import needs_proc, resident_mib
from tests.rpc_server import Line, Served
from tests.support import DEADLINE_S, Foreign, leased, wait_until

Serve = Callable[..., Served]
Connect = Callable[..., BusClient]
WORKER = "worker:s"
MIB = 1 << 20


def send_all(bus: BusClient, count: int, body: Any = None) -> list[int]:
    return [sent.id for sent in bus.send_many([{"to": WORKER, "type": "note", "body": body}] * count)]


def ids(line: Line, count: int) -> list[int]:
    return [line.push()["message"]["id"] for _ in range(count)]


def acked(foreign: Foreign) -> int:
    return int(foreign.value("SELECT count(*) FROM deliveries WHERE state = 2"))


def settle(line: Line, value: Callable[[], int]) -> int:
    """Return a value once it has not changed for half a second in which the client did not read."""
    before = -1
    while (now := value()) != before:
        before = now
        assert not line.is_silent(DEADLINE_S)
        end = time.monotonic() + 0.5
        wait_until(lambda end=end: time.monotonic() >= end, "half a second")
    return now


def test_no_more_than_the_window_is_pushed_and_each_ack_frees_a_place(
    serve: Serve, connect: Connect, foreign: Foreign
) -> None:
    sent = send_all(connect("boss:s"), 6)
    with serve().connect() as line:
        line.ask("subscribe", {"role": WORKER, "ack": "manual", "window": 3})

        assert ids(line, 3) == sent[:3]
        assert line.is_silent(0.3)
        assert (leased(foreign), foreign.value("SELECT count(*) FROM pending WHERE state = 'sent'")) == (3, 3)

        line.ask("ack", {"id": sent[1], "role": WORKER})
        assert ids(line, 1) == [sent[3]]
        assert line.is_silent(0.3)
        for message_id in (sent[0], sent[0], sent[3]):  # an ack that is said twice frees one place
            line.ask("ack", {"id": message_id, "role": WORKER})
        assert ids(line, 2) == sent[4:]


def test_a_window_holds_what_comes_later_too_and_each_subscription_has_its_own(serve: Serve, connect: Connect) -> None:
    bus = connect("boss:s")
    with serve().connect() as line:
        for _ in range(2):
            line.ask("subscribe", {"role": WORKER, "ack": "manual", "window": 2})
        sent = [bus.send(WORKER, "note").id for _ in range(6)]

        pushes = [line.push() for _ in range(4)]

        assert line.is_silent(0.3)
        assert sorted(push["message"]["id"] for push in pushes) == sent[:4]
        assert sorted(push["subscription"] for push in pushes) == [1, 1, 2, 2]
        freed = pushes[2]
        line.ask("ack", {"id": freed["message"]["id"], "role": WORKER})
        push = line.push()
        assert (push["subscription"], push["message"]["id"]) == (freed["subscription"], sent[4])


def test_an_ack_over_another_connection_frees_a_place_at_once(serve: Serve, connect: Connect) -> None:
    served = serve()
    sent = send_all(connect("boss:s"), 2)
    with served.connect() as line:
        line.ask("subscribe", {"role": WORKER, "ack": "manual", "window": 1})
        assert ids(line, 1) == sent[:1]

        served.ask("ack", {"id": sent[0]})  # for its only recipient

        # Well before the renewal, which would notice the ack, too.
        assert line.push(timeout_s=7)["message"]["id"] == sent[1]


def test_an_ack_by_a_direct_client_frees_a_place_when_the_lease_is_renewed(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_TICK_S", 0.05)
    monkeypatch.setattr(push, "_RENEW_S", 0.2)
    sent = send_all(connect("boss:s"), 3)
    with serve().connect() as line:
        line.ask("subscribe", {"role": WORKER, "ack": "manual", "window": 2})
        assert ids(line, 2) == sent[:2]

        connect(WORKER).ack(sent[0])

        assert line.push(timeout_s=DEADLINE_S)["message"]["id"] == sent[2]
        assert line.ask("stats")["unacked"] == 2


def test_a_window_that_is_no_number_of_messages_is_refused(serve: Serve) -> None:
    with serve().connect() as line:
        for window in (0, -1, 10_001, "3", 2.5, True, None):
            error = line.error("subscribe", {"role": WORKER, "window": window})

            assert (error["code"], error["data"]["kind"]) == (-32602, "invalid_params")
            assert "window" in error["message"]


def test_with_auto_acks_no_more_than_the_window_is_acked_and_unread(
    serve: Serve, connect: Connect, foreign: Foreign
) -> None:
    bus = connect("boss:s")
    with serve().connect() as line:
        line.ask("subscribe", {"role": WORKER, "window": 40})
        sent = send_all(bus, 500)

        assert 1 <= settle(line, lambda: acked(foreign)) <= 40

        assert ids(line, 500) == sent
        assert line.is_silent(0.2)
    assert acked(foreign) == 500


@needs_proc
@pytest.mark.parametrize("ack", ["auto", "manual"])
@pytest.mark.process
def test_the_backlog_of_a_client_that_does_not_read_stays_in_the_file(
    serve: Serve, connect: Connect, foreign: Foreign, ack: str
) -> None:
    bus, served = connect("boss:s"), serve()
    with served.connect() as line:
        line.ask("subscribe", {"role": WORKER, "ack": ack, "window": 10_000})
        before = resident_mib(served.pid)
        sent = send_all(bus, 12_000, "x" * 2500)

        taken = settle(line, lambda: acked(foreign) + leased(foreign))

        assert 1 <= taken <= 10_000
        assert resident_mib(served.pid) - before < 20
        assert served.ask("ping") == "pong"
        if ack == "auto":
            assert ids(line, len(sent)) == sent
            assert line.is_silent(0.2)
            assert resident_mib(served.pid) - before < 20


@needs_proc
@pytest.mark.process
@pytest.mark.slow
def test_large_messages_behind_small_ones_are_not_all_taken_at_once(serve: Serve, connect: Connect) -> None:
    bus, served = connect("boss:s"), serve()
    send_all(bus, 5_000, "small")
    large = send_all(bus, 60, "x" * MIB)
    with served.connect() as line:
        line.ask("subscribe", {"role": WORKER, "window": 10_000})
        assert len(ids(line, 4_000)) == 4_000
        before = resident_mib(served.pid)

        pushed_ids = [json.loads(line.read_line() or b"")["params"]["message"]["id"] for _ in range(1_060)]

        assert pushed_ids[-60:] == large
        assert resident_mib(served.pid) - before < 60


def test_a_client_that_reads_again_gets_the_rest_once_each_from_several_subscriptions(
    serve: Serve, connect: Connect
) -> None:
    bus = connect("boss:s")
    with serve().connect() as slow:
        for _ in range(2):
            slow.tell("subscribe", {"role": WORKER, "window": 100})
        sent = send_all(bus, 1000, "x" * 1000)
        sent += [bus.send(WORKER, "note").id for _ in range(100)]
        assert not slow.is_silent(DEADLINE_S)

        assert sorted(ids(slow, len(sent))) == sent
        assert slow.is_silent(0.2)
