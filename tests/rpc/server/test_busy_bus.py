"""The bus under a running server: locked, replaced, gone, read-only, full."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from raven import BusClient
from tests.processes import bound_by_permissions
from tests.rpc_server import Line, Served
from tests.support import DEADLINE_S, Foreign, wait_until

Serve = Callable[..., Served]
Connect = Callable[..., BusClient]
SEND = ["boss:s", "worker:s", "note"]
# The methods that the reader runs, with the parameters of a bus that holds one message to worker:s.
READS: dict[str, Any] = {
    "inbox": {"role": "worker:s", "peek": True},
    "read": {"id": 1},
    "recipients": {"id": 1},
    "history": {"task_id": "t"},
    "peers": {},
    "last_id": {},
}
WRITES: dict[str, Any] = {
    "send": SEND,
    "send_many": {"from": "boss:s", "messages": [{"to": "worker:s", "type": "note"}]},
    "ack": {"id": 1, "role": "worker:s"},
    "register": {"role": "new:s"},
    "inbox": {"role": "worker:s"},
}


def answers_at_once(served: Served) -> None:
    """Call every method that must not wait for a writer."""
    with served.connect() as line:
        assert line.ask("ping") == "pong"
        assert line.ask("stats")["pid"] == served.pid
        assert line.error("nothing")["code"] == -32601
        assert line.error("send", ["boss:s", "nobody", "note"])["data"]["kind"] == "address"
        line.write("{")
        assert line.read()["error"]["code"] == -32700
        assert line.ask("hello", ["boss:s"])["as"] == "boss:s"
        assert line.ask("rpc.discover")["openrpc"]
        assert line.ask("subscribe", ["other:s"])["subscription"] == 1
        for method, params in READS.items():
            line.ask(method, params)


def error_of(line: Line) -> tuple[str, bool, str]:
    """Return the kind, the retryable flag and the text of the next answer, which is an error."""
    error = line.answer()["error"]
    return error["data"]["kind"], error["data"]["retryable"], error["message"]


@pytest.mark.process
def test_while_another_program_holds_the_lock_only_writers_wait_and_get_a_retryable_error(
    serve: Serve, foreign: Foreign, tmp_path: Path
) -> None:
    (tmp_path / "raven.yaml").write_text("busy_timeout_s: 2\n", encoding="utf-8")
    served = serve(cwd=str(tmp_path))
    served.ask("send", SEND)
    foreign.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    with served.connect() as writer:
        writer.tell("send", [*SEND, "early"], id=1)
        wait_until(lambda: served.ask("stats")["requests"] >= 2, "the request of the writer")

        answers_at_once(served)
        assert writer.is_silent(0)

        assert error_of(writer) == ("busy", True, "the bus is locked by another writer: try again")
        assert time.monotonic() - began >= 2
        writer.tell("send", [*SEND, "again"], id=2)
        answers_at_once(served)
        assert writer.is_silent(0)
        foreign.execute("ROLLBACK")
        assert writer.answer()["result"]["body"] == "again"
    bodies = [message["body"] for message in served.ask("inbox", {"role": "worker:s"})["messages"]]
    assert bodies == [None, "again"]


def test_every_write_is_busy_while_the_lock_is_held_for_long_and_works_after(serve: Serve, foreign: Foreign) -> None:
    served = serve(busy_timeout_s=0.3)
    served.ask("send", SEND)
    foreign.execute("BEGIN IMMEDIATE")
    with served.connect() as line:
        for number, (method, params) in enumerate(WRITES.items()):
            line.tell(method, params, id=number)
        # The writer fails all waiting writes at once, so this takes two timeouts and not five.
        assert [error_of(line)[:2] for _ in WRITES] == [("busy", True)] * len(WRITES)

        foreign.execute("ROLLBACK")
        for method, params in WRITES.items():
            line.ask(method, params)
        assert line.ask("last_id") == {"id": 3}


def test_a_subscription_outlives_a_lock_that_is_held_for_long(serve: Serve, foreign: Foreign) -> None:
    served = serve(busy_timeout_s=0.1)
    served.ask("send", [*SEND, "before"])
    foreign.execute("BEGIN IMMEDIATE")
    with served.connect() as line:
        line.ask("subscribe", ["worker:s"])
        assert line.is_silent(0.5)

        foreign.execute("ROLLBACK")
        assert line.push()["message"]["body"] == "before"


def test_writers_of_many_connections_get_in_when_the_lock_is_given_up(serve: Serve, foreign: Foreign) -> None:
    served = serve()
    served.ask("send", SEND)
    foreign.execute("BEGIN IMMEDIATE")
    lines = [served.connect() for _ in range(50)]
    for number, line in enumerate(lines):
        line.tell("send", [*SEND, number], id=number)
    wait_until(lambda: served.ask("stats")["waiting_writes"] == 50, "the writers")

    foreign.execute("ROLLBACK")

    assert [line.answer()["result"]["body"] for line in lines] == list(range(50))
    assert served.ask("stats")["commits"] <= 4
    for line in lines:
        line.close()


def make_bus(path: Path, count: int) -> Path:
    with BusClient.at("backup:s", str(path)) as bus:
        bus.send_many([{"to": "worker:s", "type": "restored", "task_id": "t"}] * count)
    return path


@pytest.mark.parametrize("method", READS)
def test_the_first_read_after_another_file_took_the_place_of_the_bus_sees_the_new_one(
    serve: Serve, db: str, tmp_path: Path, method: str
) -> None:
    served = serve()
    served.ask("send", SEND)
    make_bus(tmp_path / "new.db", 7)
    os.replace(tmp_path / "new.db", db)

    def sees_it() -> bool:
        return "restored" in str(served.ask(method, READS[method])) or served.ask(method, READS[method]) == {"id": 7}

    # The server checks its file once a second.
    if method in ("recipients", "peers"):
        wait_until(lambda: served.ask("last_id") == {"id": 7}, "the new file")
        served.ask(method, READS[method])
    else:
        wait_until(sees_it, "the new file")
    assert "was replaced while in use" in served.log()


def test_writes_and_subscribers_go_on_with_a_file_that_took_the_place_of_the_bus(
    serve: Serve, db: str, tmp_path: Path
) -> None:
    served = serve()
    served.ask("send", [*SEND, "old"])
    with served.connect() as mail, served.connect() as log:
        mail.ask("subscribe", ["worker:s"])
        log.ask("tail", {})
        assert (mail.push()["message"]["body"], log.push()["message"]["body"]) == ("old", "old")
        make_bus(tmp_path / "new.db", 7)
        os.replace(tmp_path / "new.db", db)

        assert served.ask("send", [*SEND, "new"])["id"] == 8

        assert [mail.push()["message"]["id"] for _ in range(8)] == list(range(1, 9))
        assert [log.push()["message"]["id"] for _ in range(8)] == list(range(1, 9))


def test_a_deleted_bus_is_missing_and_never_made_anew_and_is_used_again_when_it_is_back(
    serve: Serve, db: str, tmp_path: Path
) -> None:
    served = serve()
    served.ask("send", [*SEND, "kept"])
    os.rename(db, f"{db}.away")
    with served.connect() as line:
        for method, params in WRITES.items():
            error = line.error(method, params)
            assert (error["data"]["kind"], error["data"]["retryable"]) == ("file_missing", False)
            assert str(tmp_path) not in str(error)
        assert line.ask("ping") == "pong"
        assert line.ask("stats")["errors"] >= len(WRITES)
        assert not os.path.exists(db)

        os.rename(f"{db}.away", db)
        line.ask("send", [*SEND, "back"])
        assert [m["body"] for m in line.ask("inbox", ["worker:s"])["messages"]] == ["kept", "back"]


def test_a_bus_that_may_not_be_written_is_read_only_and_is_read_all_the_same(db: str) -> None:
    with BusClient.at("boss:s", db) as bus:
        bus.send("worker:s", "note", "x")
    os.chmod(db, 0o400)
    served = bound_by_permissions(lambda: Served(db))
    try:
        with served.connect() as line:
            for method, params in WRITES.items():
                error = line.error(method, params)
                assert (error["data"]["kind"], error["data"]["retryable"]) == ("read_only", False)
                assert os.path.dirname(db) not in str(error)
        answers_at_once(served)
    finally:
        served.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits another process")
@pytest.mark.process
def test_on_a_full_disk_a_request_that_is_too_big_fails_alone_and_works_once_there_is_room(
    serve: Serve, db: str, foreign: Foreign
) -> None:
    served = serve()
    served.ask("send", SEND)
    foreign.execute("BEGIN IMMEDIATE")
    _, hard = resource.prlimit(served.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(served.pid, resource.RLIMIT_FSIZE, (300_000, hard))
    bodies = ["first", "small", "x" * 400_000, "also small", "y" * 1_000_000, "last"]
    lines = [served.connect() for _ in bodies]
    for number, (line, body) in enumerate(zip(lines, bodies, strict=True)):
        line.tell("send", [*SEND, body], id=number)
        # The first write waits for the lock; the others wait for the first, and are committed together.
        wait_until(partial(_waits, served, number + 1), "the writer")
    asker = served.connect()
    asker.tell("request", {"from": "asker:s", "to": "oracle:s", "type": "question", "timeout_s": DEADLINE_S}, id=9)
    wait_until(partial(_waits, served, len(bodies) + 1), "the writer")
    foreign.execute("ROLLBACK")

    answers = [line.answer() for line in lines]

    for body, answer in zip(bodies, answers, strict=True):
        if len(body) > 1000:
            assert (answer["error"]["data"]["kind"], answer["error"]["data"]["retryable"]) == ("disk_full", True)
            assert os.path.dirname(db) not in str(answer)
        else:
            assert answer["result"]["body"] == body
    resource.prlimit(served.pid, resource.RLIMIT_FSIZE, (hard, hard))
    assert lines[0].ask("send", [*SEND, bodies[2]])["body"] == bodies[2]
    inbox = lines[0].ask("inbox", ["worker:s"])["messages"]
    assert [message["body"] for message in inbox] == [None, "first", "small", "also small", "last", bodies[2]]
    # The request was committed in the second attempt, and its asker still waits.
    question = lines[0].ask("claim", ["oracle:s"])["messages"][0]
    lines[0].ask("reply", {"id": question["id"], "from": "oracle:s", "type": "answer"})
    assert asker.answer()["result"]["type"] == "answer"
    assert foreign.value("PRAGMA integrity_check") == "ok"
    for line in (*lines, asker):
        line.close()


def _waits(served: Served, count: int) -> bool:
    return bool(served.ask("stats")["waiting_writes"] == count)


def test_a_server_whose_bus_was_replaced_by_garbage_says_so_and_lives(serve: Serve, db: str) -> None:
    served = serve()
    served.ask("send", [*SEND, "kept"])
    away = [(db + end, f"{db}{end}.away") for end in ("", "-wal", "-shm")]
    for here, there in away:
        os.rename(here, there)
    Path(db).write_bytes(b"garbage" * 1000)

    with served.connect() as line:
        error = line.error("send", SEND)
        assert error["data"]["kind"] == "not_a_bus"
        assert line.ask("ping") == "pong"

        for here, there in away:
            os.replace(there, here)
        wait_until(lambda: _sent(line), "the bus that is back", DEADLINE_S)


def _sent(line: Line) -> bool:
    line.tell("send", SEND, id=1)
    return "result" in line.answer()
