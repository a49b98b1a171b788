"""What seldom meets a request at a helper that runs in this process: a thread that is busy just then, and a stop."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from raven import BusClient
from raven.host import pushers
from raven.host.worker import ignore
from raven_rpc import Server
from raven_rpc.server import connection
from raven_rpc.server import server as server_module
from tests.serving import Line
from tests.support import DEADLINE_S, wait_until

Connect = Callable[..., BusClient]
HEAVY = 1000  # more than is written on the event loop


class Running:
    """A helper in a thread of this process, whose own threads can be kept busy; its tick hardly ever comes."""

    def __init__(self, db: str) -> None:
        self.server = Server(db, busy_timeout_s=0.1, group_commit=False)
        self.path = f"{db}.sock"
        self._releases: list[threading.Event] = []
        is_ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self.server.run(lambda _: is_ready.set())))
        self._thread.start()
        assert is_ready.wait(DEADLINE_S)

    def do(self, action: Callable[[], Any]) -> Any:
        """Do something on the event loop and return what came of it."""

        async def act() -> Any:
            return action()

        return asyncio.run_coroutine_threadsafe(act(), self.server.loop).result(DEADLINE_S)

    def occupy(self, lane: Any) -> threading.Event:
        """Keep a thread busy from now on until the event that is returned is set."""
        is_busy, release = threading.Event(), threading.Event()
        self._releases.append(release)

        def stay() -> None:
            is_busy.set()
            release.wait(DEADLINE_S)

        self.do(lambda: self.server.host.lanes[lane].submit(stay, ignore, HEAVY))
        assert is_busy.wait(DEADLINE_S)
        return release

    def wait_for(self, **counts: int) -> None:
        """Wait until the helper counts so many of something."""
        wait_until(lambda: counts.items() <= self.do(self.server.stats).items(), str(counts))

    def tick(self) -> None:
        for one in self.server._connections:
            one.tick(changed=False)

    def stop(self) -> None:
        """Stop it; afterwards its connections know."""
        self.do(self.server.stop)
        self.do(lambda: None)

    def close(self) -> None:
        if self._thread.is_alive():
            self.server.loop.call_soon_threadsafe(self.server.stop)
        for release in self._releases:
            release.set()
        self.join()

    def join(self) -> None:
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()


@pytest.fixture
def running(db: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.setattr(server_module, "_TICK_S", 3600)
    one = Running(db)
    yield one
    one.close()


def test_a_wait_whose_client_has_gone_before_it_began_is_given_up(running: Running, connect: Connect) -> None:
    sent = connect("a:s").send("b:s", "note")
    release = running.occupy("read")
    with Line(running.path) as line:
        line.tell("ping", id=1)  # the answer stays unread, which resets the connection at its end
        line.tell("wait_receipt", {"id": sent.id}, id=2)
        running.wait_for(waiting_reads=2)
    running.wait_for(connections=0)

    release.set()

    running.wait_for(waiting_reads=0, waits=0)
    assert running.do(lambda: running.server.host.places._taken) == 0


def test_what_was_there_already_when_the_client_has_gone_gives_no_place_back_twice(
    running: Running, connect: Connect
) -> None:
    sent = connect("a:s").send("b:s", "note")
    release = running.occupy("read")
    with Line(running.path) as line:
        line.tell("ping", id=1)
        line.tell("wait_receipt", {"id": sent.id, "state": "sent"}, id=2)
        running.wait_for(waiting_reads=2)
    running.wait_for(connections=0)

    release.set()

    running.wait_for(waiting_reads=0)
    assert running.do(lambda: running.server.host.places._taken) == 0


def test_a_wait_that_begins_when_the_helper_has_stopped_is_answered_at_once(running: Running, connect: Connect) -> None:
    sent = connect("a:s").send("b:s", "note")
    release = running.occupy("read")
    with Line(running.path) as line:
        line.tell("wait_receipt", {"id": sent.id}, id=1)
        running.wait_for(waiting_reads=2)

        running.stop()
        release.set()

        assert line.answer()["error"]["data"]["kind"] == "closed"


def test_a_request_that_was_read_before_the_stop_and_begun_after_it_does_not_wait(
    running: Running, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "MAX_PENDING", 1)
    sent = connect("a:s").send("b:s", "note")
    release = running.occupy("read")
    with Line(running.path) as line:
        line.write(
            '{"jsonrpc": "2.0", "method": "last_id", "id": 1}\n'
            f'{{"jsonrpc": "2.0", "method": "wait_receipt", "params": [{sent.id}], "id": 2}}'
        )
        running.wait_for(waiting_reads=2)

        running.stop()
        release.set()

        assert line.answer()["result"] == {"id": 1}
        assert line.answer()["error"]["data"]["kind"] == "closed"


def test_an_end_that_comes_with_the_last_look_is_told_once(running: Running, connect: Connect) -> None:
    sent = connect("a:s").send("b:s", "note")
    with Line(running.path) as line:
        line.tell("wait_receipt", {"id": sent.id, "timeout_s": 0.2}, id=1)
        running.wait_for(waits=1, waiting_reads=0)
        release = running.occupy("read")
        connect("b:s").ack(sent.id)
        running.wait_for(waiting_reads=3)  # the look after the ring, and the last look

        release.set()

        assert line.answer()["result"]["receipts"][0]["state"] == "acked"
        assert line.ask("ping") == "pong"


def test_a_last_look_that_finds_that_it_will_never_be_says_so(running: Running, connect: Connect, db: str) -> None:
    sent = connect("a:s").send("b:s", "note", max_attempts=1)
    with Line(running.path) as line:
        line.tell("wait_receipt", {"id": sent.id, "timeout_s": 0.3}, id=1)
        running.wait_for(waits=1, waiting_reads=0)
        shutil.rmtree(f"{db}-bells")
        receiver = connect("b:s")
        receiver.claim()
        receiver.nack(sent.id)

        assert line.answer()["error"]["data"]["kind"] == "undelivered"


def test_an_answer_whose_ring_was_lost_is_found_when_the_time_is_over(
    running: Running, connect: Connect, db: str
) -> None:
    with Line(running.path) as line:
        line.tell("request", {"from": "a:s", "to": "b:s", "type": "ask", "timeout_s": 0.3}, id=1)
        running.wait_for(waits=1, waiting_writes=0)
        shutil.rmtree(f"{db}-bells")
        answering = connect("b:s")

        # Not by `reply`, whose answer would not outlive the question: as foreign programs write it.
        answering.send(str(answering.claim()[0].reply_address), "answer", "late")

        assert line.answer()["result"]["body"] == "late"


def test_a_request_whose_client_does_not_read_is_withdrawn_when_its_time_is_over(
    running: Running, connect: Connect
) -> None:
    receiver = connect("b:s")
    receiver.send("c:s", "long", "x" * 1_000_000)
    with Line(running.path) as line:
        line.tell("request", {"from": "a:s", "to": "b:s", "type": "ask", "timeout_s": 0.3}, id=1)
        running.wait_for(waits=1, waiting_writes=0)

        line.tell("read", {"id": 1}, id=2)
        running.wait_for(waits=0)

        assert receiver.claim() == []
        assert line.answer()["id"] == 2
        assert line.answer()["error"]["data"]["kind"] == "timeout"


# The end of connections, and of the helper


def test_a_helper_goes_before_its_threads_are_done_where_they_take_too_long(
    running: Running, connect: Connect, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server_module, "_DRAIN_S", 0.1)
    running.occupy("read")
    with Line(running.path) as line:
        line.tell("last_id", id=1)
        running.wait_for(waiting_reads=2)

        running.stop()

        assert line.read_line() is None
    running.join()
    assert "the bus was busy for too long" in caplog.text


def test_a_fetch_that_comes_back_when_its_connection_has_ended_pushes_nothing(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "_DRAIN_S", 0.3)
    with Line(running.path) as line:
        line.ask("tail")
        running.wait_for(waiting_reads=0)
        release = running.occupy("read")
        line.ask("send", ["a:s", "b:s", "note"])
        running.wait_for(waiting_reads=2)

        running.stop()

        assert line.read_line() is None
        release.set()
    running.join()
    assert running.server.host.pushed == 1


def test_a_fetch_that_fails_when_its_connection_has_ended_is_nobody_s_error(running: Running, connect: Connect) -> None:
    with Line(running.path) as line:
        line.ask("subscribe", ["b:s", "manual"])
        line.ask("ping")  # by now it has begun
        running.wait_for(waiting_writes=0)
        line.tell("ping", id=1)
        release = running.occupy("write")
        connect("a:s").send("b:s", "note")
        running.wait_for(waiting_writes=2)
    running.wait_for(connections=0)
    with connect("other:s").transaction():
        release.set()
        running.wait_for(waiting_writes=0)

    assert [message.id for message in connect("b:s").claim()] == [1]


def test_a_helper_that_stood_still_renews_what_it_holds_before_it_takes_more(
    running: Running, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender = connect("a:s")
    with Line(running.path) as line:
        line.ask("subscribe", {"role": "b:s", "ack": "manual"})
        sender.send("b:s", "note")
        first = line.push()["message"]
        monkeypatch.setattr(pushers, "LEASE_S", 0.0)

        sender.send("b:s", "note")

        assert line.push()["message"]["lease"] == first["lease"]
        assert line.ask("ack", {"id": 1, "role": "b:s"}) == {"acked": [1]}


def test_a_renewal_that_fails_leaves_the_messages_where_they_are(
    running: Running, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pushers, "_RENEW_S", 0.0)
    with Line(running.path) as line:
        line.ask("subscribe", {"role": "b:s", "ack": "manual"})
        connect("a:s").send("b:s", "note")
        line.push()
        with connect("other:s").transaction():
            running.do(running.tick)
            running.wait_for(waiting_writes=0)

        assert line.ask("stats")["unacked"] == 1
        assert line.ask("ack", {"id": 1, "role": "b:s"}) == {"acked": [1]}
