"""Inline writes: the writes of the only active client are committed at once, and every promise holds."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.rpc_server import Served
from tests.support import Foreign, wait_until

Serve = Callable[..., Served]
SEND = ["boss:s", "worker:s", "note"]


@pytest.fixture
def served(serve: Serve) -> Served:
    return serve()


def test_each_answer_to_a_client_alone_comes_after_a_commit_of_its_own(served: Served, foreign: Foreign) -> None:
    with served.connect() as line:
        for number in range(1, 6):
            assert line.ask("send", [*SEND, number])["id"] == number
            assert foreign.value("SELECT count(*) FROM messages") == number

        assert line.ask("stats")["commits"] == 5


def test_a_client_alone_waits_for_the_lock_and_its_write_is_made_once(served: Served, foreign: Foreign) -> None:
    with served.connect() as line, served.connect() as other:
        line.ask("send", SEND)
        foreign.execute("BEGIN IMMEDIATE")
        line.tell("send", SEND, id=2)
        wait_until(lambda: other.ask("stats")["waiting_writes"] == 1, "the write")
        assert line.is_silent(0.1)

        foreign.execute("ROLLBACK")

        assert line.answer()["result"]["id"] == 2
        assert foreign.value("SELECT count(*) FROM messages") == 2


def test_an_error_of_a_client_alone_stops_nothing_that_comes_after_it(served: Served) -> None:
    with served.connect() as line:
        line.ask("send", SEND)
        assert line.error("ack", {"id": 7, "role": "worker:s"})["data"]["kind"] == "message_not_found"
        line.tell("send", SEND)  # a notification

        assert line.ask("send", SEND)["id"] == 3


@pytest.mark.parametrize("count", [2, 3])
def test_clients_that_write_in_turns_are_all_answered_in_order(served: Served, count: int) -> None:
    lines = [served.connect() for _ in range(count)]
    ids = []
    for times in (1, 1, 3, 1, 2):
        for line in lines:
            ids += [line.ask("send", SEND)["id"] for _ in range(times)]

    assert ids == list(range(1, len(ids) + 1))
    for line in lines:
        line.close()


@pytest.mark.parametrize("is_batch", [False, True])
def test_what_a_client_alone_sends_at_once_is_committed_together(served: Served, is_batch: bool) -> None:
    requests = [{"jsonrpc": "2.0", "method": "send", "params": SEND, "id": number} for number in range(2, 42)]
    with served.connect() as line:
        line.ask("send", SEND)
        line.write(json.dumps(requests) if is_batch else "\n".join(map(json.dumps, requests)))
        answers = line.answer() if is_batch else [line.answer() for _ in requests]

        assert [answer["result"]["id"] for answer in answers] == [answer["id"] for answer in answers]
        # One commit for the first; the requests of a line may come in two pieces.
        assert line.ask("stats")["commits"] <= 3
