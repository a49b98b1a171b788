"""A server whose own threads are busy when a request, an end or a stop comes."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator

import pytest

from raven import BusClient
from raven.host import push
from raven.host import service as service_module
from raven.host.worker import Executor, ignore
from raven_rpc.server import connection
from tests.support import DEADLINE_S, wait_until
from tests.thread_server import ServedHere

Connect = Callable[..., BusClient]
Occupy = Callable[[Executor], threading.Event]
HEAVY = 1000  # more than is written on the event loop


@pytest.fixture
def served(serve: Callable[..., ServedHere], monkeypatch: pytest.MonkeyPatch) -> ServedHere:
    """Start a server with a very long tick."""
    monkeypatch.setattr(service_module, "_TICK_S", 3600)
    return serve(busy_timeout_s=0.1, group_commit=False)


@pytest.fixture
def occupy(served: ServedHere) -> Iterator[Occupy]:
    """Return a function that keeps a thread of the server busy until the event that it returns is set."""
    releases: list[threading.Event] = []

    def start(executor: Executor) -> threading.Event:
        is_busy, release = threading.Event(), threading.Event()
        releases.append(release)

        def stay() -> None:
            is_busy.set()
            release.wait(DEADLINE_S)

        served.do(lambda: served.server.front.host.executors[executor].submit(stay, ignore, HEAVY))
        assert is_busy.wait(DEADLINE_S)
        return release

    yield start
    for release in releases:
        release.set()


def wait_for(served: ServedHere, **counts: int) -> None:
    """Wait until the server's statistics have these values."""
    wait_until(lambda: counts.items() <= served.do(served.server.stats).items(), str(counts))


def begin_to_stop(served: ServedHere) -> None:
    """Stop the server, and return once its connections are stopping."""
    served.do(served.server.stop)
    served.do(lambda: None)


@pytest.mark.parametrize("state", ["sent", "acked"], ids=["is there already", "is waited for"])
def test_a_deferred_request_whose_client_leaves_before_it_starts_is_cancelled_and_releases_its_quota_once(
    served: ServedHere, occupy: Occupy, connect: Connect, state: str
) -> None:
    sent = connect("a:s").send("b:s", "note")
    release = occupy("read")
    with served.connect() as line:
        line.tell("ping", id=1)  # the answer stays unread, which resets the connection at its end
        line.tell("wait_receipt", {"id": sent.id, "state": state}, id=2)
        wait_for(served, waiting_reads=2)
    wait_for(served, connections=0)

    release.set()

    wait_for(served, waiting_reads=0, waits=0)
    assert served.do(lambda: served.server.front.host.wait_quota._used) == 0


def test_a_wait_that_begins_when_the_server_has_stopped_is_answered_at_once(
    served: ServedHere, occupy: Occupy, connect: Connect
) -> None:
    sent = connect("a:s").send("b:s", "note")
    release = occupy("read")
    with served.connect() as line:
        line.tell("wait_receipt", {"id": sent.id}, id=1)
        wait_for(served, waiting_reads=2)

        begin_to_stop(served)
        release.set()

        assert line.answer()["error"]["data"]["kind"] == "closed"


def test_a_request_that_was_read_before_the_stop_and_begun_after_it_does_not_wait(
    served: ServedHere, occupy: Occupy, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "MAX_PENDING", 1)
    sent = connect("a:s").send("b:s", "note")
    release = occupy("read")
    with served.connect() as line:
        line.write(
            '{"jsonrpc": "2.0", "method": "last_id", "id": 1}\n'
            f'{{"jsonrpc": "2.0", "method": "wait_receipt", "params": [{sent.id}], "id": 2}}'
        )
        wait_for(served, waiting_reads=2)

        begin_to_stop(served)
        release.set()

        assert line.answer()["result"] == {"id": 1}
        assert line.answer()["error"]["data"]["kind"] == "closed"


def test_an_error_in_the_final_poll_is_sent_once(served: ServedHere, occupy: Occupy, connect: Connect) -> None:
    sent = connect("a:s").send("b:s", "note")
    with served.connect() as line:
        line.tell("wait_receipt", {"id": sent.id, "timeout_s": 0.2}, id=1)
        wait_for(served, waits=1, waiting_reads=0)
        release = occupy("read")
        connect("b:s").ack(sent.id)
        wait_for(served, waiting_reads=3)  # the look after the ring, and the last look

        release.set()

        assert line.answer()["result"]["receipts"][0]["state"] == "acked"
        assert line.ask("ping") == "pong"


def test_a_last_look_that_finds_that_it_will_never_be_says_so(served: ServedHere, connect: Connect, db: str) -> None:
    sent = connect("a:s").send("b:s", "note", max_attempts=1)
    with served.connect() as line:
        line.tell("wait_receipt", {"id": sent.id, "timeout_s": 0.3}, id=1)
        wait_for(served, waits=1, waiting_reads=0)
        shutil.rmtree(f"{db}-bells")
        receiver = connect("b:s")
        receiver.claim()
        receiver.nack(sent.id)

        assert line.answer()["error"]["data"]["kind"] == "undelivered"


def test_an_answer_whose_ring_was_lost_is_found_when_the_time_is_over(
    served: ServedHere, connect: Connect, db: str
) -> None:
    with served.connect() as line:
        line.tell("request", {"from": "a:s", "to": "b:s", "type": "ask", "timeout_s": 0.3}, id=1)
        wait_for(served, waits=1, waiting_writes=0)
        shutil.rmtree(f"{db}-bells")
        answering = connect("b:s")

        # Not by `reply`, whose message would expire with the request: as another program writes it.
        (asked,) = answering.claim()
        answering.send(str(asked.reply_address), "answer", "late", reply_to=asked.id)

        assert line.answer()["result"]["body"] == "late"


def test_a_request_whose_client_does_not_read_is_withdrawn_when_its_time_is_over(
    served: ServedHere, connect: Connect
) -> None:
    receiver = connect("b:s")
    receiver.send("c:s", "long", "x" * 1_000_000)
    with served.connect() as line:
        line.tell("request", {"from": "a:s", "to": "b:s", "type": "ask", "timeout_s": 0.3}, id=1)
        wait_for(served, waits=1, waiting_writes=0)

        line.tell("read", {"id": 1}, id=2)
        wait_for(served, waits=0)

        assert receiver.claim() == []
        assert line.answer()["id"] == 2
        assert line.answer()["error"]["data"]["kind"] == "timeout"


# The end of connections, and of the server


def test_a_server_goes_before_its_threads_are_done_where_they_take_too_long(
    served: ServedHere, occupy: Occupy, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "_DRAIN_S", 0.1)
    occupy("read")
    with served.connect() as line:
        line.tell("last_id", id=1)
        wait_for(served, waiting_reads=2)

        begin_to_stop(served)

        assert line.read_line() is None
    served.stop()
    assert "the bus was busy for too long" in served.log()


def test_a_fetch_that_comes_back_when_its_connection_has_ended_pushes_nothing(
    served: ServedHere, occupy: Occupy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "_DRAIN_S", 0.3)
    with served.connect() as line:
        line.ask("tail")
        wait_for(served, waiting_reads=0)
        release = occupy("read")
        line.ask("send", ["a:s", "b:s", "note"])
        wait_for(served, waiting_reads=2)

        begin_to_stop(served)

        assert line.read_line() is None
        release.set()
    served.stop()
    assert served.server.front.host.pushed == 0


def test_a_fetch_that_fails_after_its_connection_has_ended_is_not_an_error(
    served: ServedHere, occupy: Occupy, connect: Connect
) -> None:
    with served.connect() as line:
        line.ask("subscribe", ["b:s", "manual"])
        line.ask("ping")  # by now it has begun
        wait_for(served, waiting_writes=0)
        line.tell("ping", id=1)
        release = occupy("write")
        connect("a:s").send("b:s", "note")
        wait_for(served, waiting_writes=2)
    wait_for(served, connections=0)
    with connect("other:s").transaction():
        release.set()
        wait_for(served, waiting_writes=0)

    assert [message.id for message in connect("b:s").claim()] == [1]


def test_a_server_that_was_suspended_renews_its_leases_before_it_fetches_more(
    served: ServedHere, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender = connect("a:s")
    with served.connect() as line:
        line.ask("subscribe", {"role": "b:s", "ack": "manual"})
        sender.send("b:s", "note")
        first = line.push()["message"]
        monkeypatch.setattr(push, "LEASE_S", 0.0)

        sender.send("b:s", "note")

        assert line.push()["message"]["lease"] == first["lease"]
        assert line.ask("ack", {"id": 1, "role": "b:s"}) == {"acked": [1]}


def test_a_renewal_that_fails_leaves_the_messages_where_they_are(
    served: ServedHere, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push, "_RENEW_S", 0.0)
    with served.connect() as line:
        line.ask("subscribe", {"role": "b:s", "ack": "manual"})
        connect("a:s").send("b:s", "note")
        line.push()
        with connect("other:s").transaction():
            served.do(lambda: [one.tick(changed=False) for one in served.server.front._connections])
            wait_for(served, waiting_writes=0)

        assert line.ask("stats")["unacked"] == 1
        assert line.ask("ack", {"id": 1, "role": "b:s"}) == {"acked": [1]}
