"""The life of the server: its start, the responses it still sends when it stops, and the state after a kill."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from raven import BusClient, ConfigError
from raven_rpc import Server
from scripts.harness.deadline import Limit
from tests.failed_start import environment, refusal, serve_command
from tests.rpc_server import Line, Served
from tests.support import DEADLINE_S, Foreign, Program, bells, leased, wait_until

pytestmark = pytest.mark.process
Serve = Callable[..., Served]
Connect = Callable[..., BusClient]
Spawn = Callable[..., Program]

SIGNALS = [signal.SIGTERM, signal.SIGINT]
# Far less than the server waits for a busy bus before it gives up.
AT_ONCE_S = Limit(7.0)


@pytest.fixture
def patient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give servers a long busy timeout, for a bus that another program has locked."""
    (tmp_path / "raven.yaml").write_text("busy_timeout_s: 600\n")
    monkeypatch.chdir(tmp_path)


def send(number: int) -> dict[str, Any]:
    return {"from": "boss:s", "to": "worker:s", "type": "note", "body": number}


def pipeline(line: Line, count: int) -> None:
    """Write many sends at once; few enough that the socket buffers all before the server reads any."""
    for number in range(count):
        line.tell("send", send(number), id=number)


def answers(line: Line) -> Iterator[Any]:
    """Yield the lines up to the end of the connection."""
    while (response := line.answer()) is not None:
        yield response


def bodies(connect: Connect) -> list[Any]:
    """Return the bodies of all pending messages of the worker."""
    return [message.body for message in connect("worker:s").inbox(10_000)]


# The start


def test_one_line_says_where_it_listens(db: str) -> None:
    with subprocess.Popen(serve_command("--db", db), stdout=subprocess.PIPE, env=environment()) as process:
        assert process.stdout
        assert select.select([process.stdout], [], [], DEADLINE_S)[0]
        first = process.stdout.readline()
        with Line(f"{db}.sock") as line:
            assert line.ask("ping") == "pong"
        process.terminate()

        assert first == f"listening at {db}.sock\n".encode()
        assert process.stdout.read() == b""
    assert process.returncode == 0


def test_a_file_that_is_no_bus_is_refused(db: str) -> None:
    Path(db).write_text("precious " * 1000)

    assert db in refusal("--db", db, code=3)
    assert not os.path.lexists(f"{db}.sock")
    assert Path(db).read_text() == "precious " * 1000


def test_a_bus_of_a_newer_raven_is_refused(db: str, connect: Connect, foreign: Foreign) -> None:
    connect("boss:s").close()
    foreign.execute("PRAGMA user_version = 9999")

    assert "newer" in refusal("--db", db, code=3)
    assert not os.path.lexists(f"{db}.sock")


def test_an_address_that_is_none_is_refused(db: str) -> None:
    assert "'worker'" in refusal("--db", db, "--as", "worker", code=2)
    assert not os.path.lexists(f"{db}.sock")


@pytest.mark.parametrize("size", ["max_request", "max_connections"])
def test_a_size_of_nothing_is_refused_by_name(db: str, size: str) -> None:
    with pytest.raises(ConfigError, match=f"{size} is 0, but must be a whole number from 1 on"):
        Server(db, **{size: 0})


# The end


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_it_with_nothing_left_behind(serve: Serve, db: str, number: int) -> None:
    served = serve()
    with served.connect() as mail, served.connect() as log, served.connect() as idle:
        mail.ask("subscribe", {"role": "worker:s"})
        log.ask("tail")
        idle.ask("ping")

        assert served.stop(number) == 0

        assert [mail.read(), log.read(), idle.read()] == [None, None, None]
    assert not os.path.lexists(served.path)
    assert bells(db) == []
    assert served.log() == ""


@pytest.mark.parametrize(("number", "answered"), [(SIGNALS[0], 1), (SIGNALS[1], 50), (SIGNALS[0], 200)])
def test_what_was_answered_is_stored_and_nothing_else(
    serve: Serve, connect: Connect, number: int, answered: int
) -> None:
    served = serve()
    with served.connect() as line:
        pipeline(line, 400)
        first = [line.answer() for _ in range(answered)]
        code = served.stop(number)
        shapes = [*first, *answers(line)]

    assert code == 0
    assert all("result" in response for response in shapes)
    assert [response["id"] for response in shapes] == list(range(len(shapes)))
    assert sorted(bodies(connect)) == list(range(len(shapes)))
    assert served.log() == ""


@pytest.mark.parametrize("number", SIGNALS)
def test_requests_that_were_taken_before_the_signal_are_answered(
    serve: Serve, connect: Connect, spawn: Spawn, db: str, patient: None, number: int
) -> None:
    served = serve()
    holder = spawn("lock_holder", db)
    assert holder.read() == 1
    with served.connect() as line, served.connect() as other:
        pipeline(line, 300)
        wait_until(lambda: other.ask("stats")["requests"] > 300, "the requests to be taken")

        served.process.send_signal(number)
        wait_until(lambda: not os.path.lexists(served.path), "the server to begin its end")
        assert holder.ask(None) == 2

        assert [response["id"] for response in answers(line) if "result" in response] == list(range(300))
    assert served.process.wait(DEADLINE_S) == 0
    assert sorted(bodies(connect)) == list(range(300))


@pytest.mark.parametrize("number", SIGNALS)
def test_messages_that_were_pushed_and_not_acked_are_given_back_at_once(
    serve: Serve, connect: Connect, foreign: Foreign, number: int
) -> None:
    served = serve()
    with served.connect() as line:
        line.ask("subscribe", {"role": "worker:s", "ack": "manual", "window": 10})
        boss = connect("boss:s")
        for body in range(20):
            boss.send("worker:s", "note", body)
        assert [line.push()["message"]["body"] for _ in range(10)] == list(range(10))
        assert leased(foreign) == 10

        assert served.stop(number) == 0

    assert leased(foreign) == 0
    assert [message.body for message in connect("worker:s").claim(100)] == list(range(20))


@pytest.mark.parametrize(("number", "pushed"), [(SIGNALS[0], 1), (SIGNALS[1], 100), (SIGNALS[0], 700)])
def test_a_signal_loses_no_message_of_a_subscriber_that_reads_to_the_end(
    serve: Serve, connect: Connect, number: int, pushed: int
) -> None:
    connect("boss:s").send_many([{"to": "worker:s", "type": "note", "body": body} for body in range(3000)])
    served = serve()
    with served.connect() as line:
        line.ask("subscribe", {"role": "worker:s"})
        read = [line.push()["message"]["body"] for _ in range(pushed)]
        served.process.send_signal(number)
        while (response := line.read()) is not None:
            read.append(response["params"]["message"]["body"])
    assert served.process.wait(DEADLINE_S) == 0

    assert read + bodies(connect) == list(range(3000))


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("is_asked", [True, False])
def test_a_second_signal_ends_it_at_once_even_while_the_bus_is_locked(
    serve: Serve, connect: Connect, spawn: Spawn, db: str, patient: None, number: int, is_asked: bool
) -> None:
    served = serve()
    with served.connect() as line:
        line.ask("subscribe", {"role": "worker:s", "ack": "manual"})
        connect("boss:s").send("worker:s", "note", 0)
        line.push()
        holder = spawn("lock_holder", db)
        assert holder.read() == 1
        if is_asked:
            line.tell("send", send(1), id=1)
            with served.connect() as other:
                wait_until(lambda: other.ask("stats")["requests"] > 2, "the request to be taken")

        served.process.send_signal(number)
        wait_until(lambda: not os.path.lexists(served.path), "the server to begin its end")
        with pytest.raises(subprocess.TimeoutExpired):
            served.process.wait(0.3)
        served.process.send_signal(number)

        assert served.process.wait(AT_ONCE_S) != 0
    assert holder.ask(None) == 2
    assert connect("late:s").send("worker:s", "note", 2).id == 2


# The kill


def test_what_was_answered_survives_a_kill(serve: Serve, connect: Connect, foreign: Foreign) -> None:
    served = serve()
    with served.connect() as line:
        pipeline(line, 400)
        read = [line.answer() for _ in range(50)]
        served.kill()
        read += list(answers_that_came(line))

    stored = bodies(connect)
    assert len(read) >= 50
    assert stored == list(range(len(stored)))
    assert len(stored) >= len(read)
    assert foreign.value("PRAGMA integrity_check") == "ok"
    assert serve().ask("send", send(400))["body"] == 400


def answers_that_came(line: Line) -> Iterator[Any]:
    """Yield the complete responses that were written before a kill; the last one may be truncated."""
    try:
        yield from answers(line)
    except AssertionError as error:
        if "ended within a line" not in str(error):
            raise
