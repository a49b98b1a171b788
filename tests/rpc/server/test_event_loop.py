"""The event loop does no long work: long messages are read and encoded in threads, and wait for room."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from raven import BusClient
from raven.host import service
from raven_rpc.jsonrpc import messages
from tests.support import DEADLINE_S, wait_until
from tests.thread_server import ServedHere

Serve = Callable[..., ServedHere]
Connect = Callable[..., BusClient]
LONG = "x" * 600_000


@pytest.fixture
def long_texts(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Return the names of the server's threads that encode or decode a long JSON text, each time that they do."""
    threads: list[str] = []
    encode_parts, loads, encode_success = messages._encode_parts, json.JSONDecoder.decode, messages.encode_success

    def note(text: Any) -> Any:
        if len(text) > 100_000 and threading.current_thread() is not threading.main_thread():
            threads.append(threading.current_thread().name)
        return text

    monkeypatch.setattr(messages, "_encode_parts", lambda *args: [note("".join(encode_parts(*args)))])
    monkeypatch.setattr(messages, "encode_success", lambda *args: note(encode_success(*args)))  # a list, item by item
    monkeypatch.setattr(json.JSONDecoder, "decode", lambda self, text, *rest: loads(self, note(text), *rest))
    return threads


def test_long_mail_is_claimed_and_listed_in_a_thread(serve: Serve, connect: Connect, long_texts: list[str]) -> None:
    boss = connect("boss:s")
    with serve("--as", "w:s").connect() as line:
        for method, params in (("claim", {}), ("inbox", {}), ("claim", {"max": 100})):
            for number in range(3):
                boss.send("w:s", "note", LONG if method == "claim" else "x" * 90_000, tags=[str(number)])
            line.ask("register", {"role": "w:s"})  # the next write would be made on the event loop
            found = line.ask(method, params)["messages"]
            assert all(len(message["body"]) >= 90_000 for message in found)
            for message in found:
                assert line.ask("ack", {"id": message["id"]}) == {"acked": [message["id"]]}
    assert "served" not in long_texts
    assert long_texts


@pytest.mark.parametrize("ack", ["auto", "manual", "prefetch"])
def test_long_mail_is_pushed_from_a_thread(serve: Serve, connect: Connect, long_texts: list[str], ack: str) -> None:
    boss = connect("boss:s")
    with serve("--as", "w:s").connect() as line:
        line.ask("subscribe", {"ack": ack})
        for number in range(1, 4):
            boss.send("w:s", "note", LONG)
            pushed = line.read()["params"]
            assert (pushed["message"]["id"], pushed["message"]["body"]) == (number, LONG)
            assert ("leased_until" in pushed) == (ack != "auto")
    assert "served" not in long_texts
    assert long_texts.count("raven-writer") >= 3


def test_one_long_claim_among_short_writes_of_one_turn_is_done_once(serve: Serve, connect: Connect) -> None:
    connect("boss:s").send("w:s", "note", LONG)
    with serve().connect() as line:
        line.ask("send", {"from": "a:s", "to": "b:s", "type": "t"})
        calls = [("send", ["a:s", "b:s", "t"]), ("claim", {"role": "w:s"}), ("send", ["a:s", "b:s", "t"])]
        requests = [{"jsonrpc": "2.0", "method": name, "params": args, "id": 1} for name, args in calls]
        line.write("\n".join(map(json.dumps, requests)))
        first, claim, last = (line.read()["result"] for _ in calls)

    assert (first["id"], last["id"]) == (3, 4)
    assert [message["attempts"] for message in claim["messages"]] == [1]
    assert len(connect("b:s").inbox()) == 3


def test_a_long_reply_is_written_received_and_encoded_in_threads(
    serve: Serve, connect: Connect, long_texts: list[str]
) -> None:
    served = serve()
    with served.connect() as asker, served.connect() as oracle:
        asker.tell("request", {"from": "a:s", "to": "o:s", "type": "ask", "body": LONG, "timeout_s": 60}, id=1)
        wait_until(lambda: connect("o:s").inbox(peek=True), "the request")
        oracle.ask("register", {"role": "o:s"})
        reply = oracle.ask("reply", {"from": "o:s", "id": 1, "type": "answer", "body": LONG})
        assert asker.read()["result"]["id"] == reply["id"]
    assert "served" not in long_texts
    assert long_texts.count("raven-writer") >= 2


def test_a_long_reply_whose_ring_was_lost_is_read_in_a_thread_when_the_time_is_over(
    serve: Serve, connect: Connect, db: str, monkeypatch: pytest.MonkeyPatch, long_texts: list[str]
) -> None:
    monkeypatch.setattr(service, "_TICK_S", 3600)
    served = serve()
    with served.connect() as line:
        line.tell("request", {"from": "a:s", "to": "o:s", "type": "ask", "timeout_s": 2}, id=1)
        expected = {"waits": 1, "waiting_writes": 0}
        wait_until(lambda: expected.items() <= served.do(served.server.stats).items(), "the wait")
        shutil.rmtree(f"{db}-bells")
        oracle = connect("o:s")
        [asked] = oracle.claim()
        oracle.send(str(asked.reply_address), "answer", LONG, reply_to=asked.id)
        assert line.read()["result"]["body"] == LONG
    assert long_texts == ["raven-writer"] * len(long_texts)


def test_long_receipts_are_encoded_in_a_thread(serve: Serve, connect: Connect, long_texts: list[str]) -> None:
    boss = connect("boss:s")
    names = [f"{number}{'x' * 100}" for number in range(500)]
    sent = boss.send([f"{name}:s" for name in names], "note", expires_in_s=0.001)
    with serve().connect() as line:
        for _ in range(2):
            assert len(line.ask("wait_receipt", {"id": sent.id, "state": "expired"})["receipts"]) == 500
    assert long_texts == ["raven-reader"] * 2


def test_many_logs_of_one_client_that_does_not_read_are_not_fetched_side_by_side(
    serve: Serve, connect: Connect, long_texts: list[str]
) -> None:
    connect("boss:s").send("w:s", "note", "x" * 3_000_000)
    served = serve("--as", "w:s")
    host, tails = served.server.front.host, 60
    release = threading.Event()
    with served.connect() as line:
        served.do(lambda: host.reader.submit(release.wait, lambda _: None))
        for number in range(tails):
            assert line.ask("tail", {"from_id": 1, "follow": False}) == {"subscription": number + 1}
        wait_until(lambda: served.do(host.reader.pending) > tails, "a fetch for each")
        release.set()
        wait_until(lambda: served.do(host.reader.pending) == 0, "their end")
        assert 0 < host.pushed < tails / 2

        pushed = [line.read() for _ in range(2 * tails)]
        assert sum(one["method"] == "message" for one in pushed) == tails
        wait_until(lambda: served.do(lambda: served.server.front.answers.held) == 0, "no text is held")
    assert set(long_texts) == {"raven-reader"}


def test_a_client_of_many_requests_that_take_long_gives_others_their_turn(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = serve()
    dispatch, asked, begun = served.server.front.dispatcher.dispatch, [], threading.Event()

    def take_long(value: dict[str, Any], *rest: Any) -> Any:
        asked.append(value["method"])
        end = time.thread_time() + (0.01 if value["method"] == "hello" else 0)
        begun.set()
        while time.thread_time() < end:
            pass
        return dispatch(value, *rest)

    monkeypatch.setattr(served.server.front.dispatcher, "dispatch", take_long)
    with served.connect() as long, served.connect() as other:
        long.write('{"jsonrpc":"2.0","method":"hello","id":1}\n' * 50)
        assert begun.wait(DEADLINE_S)
        assert other.ask("ping") == "pong"
        assert asked.index("ping") < 40
        assert [long.read()["id"] for _ in range(50)] == [1] * 50
