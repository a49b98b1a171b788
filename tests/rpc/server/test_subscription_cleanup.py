"""A failure of one subscription or message leaves nothing behind, and blocks no other subscription."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from raven import BusClient
from raven.host.subscriptions import MAX_SUBSCRIPTIONS
from tests.processes import open_files
from tests.rpc_server import Served
from tests.support import Foreign, bells, wait_for_watch, wait_until

Serve = Callable[..., Served]
Connect = Callable[..., BusClient]
WORKER = "worker:s"


def test_messages_that_expire_while_they_are_prefetched_free_their_slots_in_the_window(
    serve: Serve, connect: Connect
) -> None:
    boss = connect("boss:s")
    with serve().connect() as line:
        number = line.ask("subscribe", {"role": WORKER, "ack": "prefetch", "window": 2})["subscription"]
        dying = boss.send_many([{"to": WORKER, "type": "job", "expires_in_s": 0.5} for _ in range(2)])
        pushed = [line.push()["message"]["id"] for _ in range(2)]
        ends = max(message.expires_at for message in dying if message.expires_at)
        wait_until(lambda: datetime.now(UTC) > ends, "the end of their time")

        errors = [line.error("ack", {"id": id, "subscription": number})["data"]["kind"] for id in pushed]

        assert errors == ["lease_lost"] * 2
        alive = boss.send(WORKER, "job")
        assert line.push()["message"]["id"] == alive.id


@pytest.mark.process
def test_a_subscription_over_the_limit_leaves_no_doorbell_and_no_descriptor(serve: Serve, db: str) -> None:
    served = serve()
    with served.connect() as line:
        line.ask("ping")
        before = open_files(served.pid)
        for _ in range(MAX_SUBSCRIPTIONS):
            line.ask("tail", {"from_id": 10**6})
        wait_for_watch(db, served)
        hanging, opened = len(bells(db)), open_files(served.pid)

        kinds = {line.error("tail", {"from_id": 10**6})["data"]["kind"] for _ in range(20)}

        assert kinds == {"limit"}
        assert len(bells(db)) == hanging
        # The watch opens a doorbell and its folder for a moment when it rings.
        wait_until(lambda: open_files(served.pid) <= opened, "the end of the descriptors")
    wait_until(lambda: not [bell for bell in bells(db) if "/" in bell], "the end of the doorbells")
    wait_until(lambda: open_files(served.pid) <= before, "the end of the descriptors")


@pytest.mark.parametrize("other", ["history", "inbox"])
def test_the_answer_to_a_subscribe_in_a_batch_comes_before_its_messages(
    serve: Serve, connect: Connect, other: str
) -> None:
    boss = connect("boss:s")
    boss.send_many([{"to": WORKER, "type": "job", "correlation_id": "c", "body": "x" * 100} for _ in range(2000)])
    params = {"history": {"correlation_id": "c"}, "inbox": {"role": "boss:s"}}[other]
    batch = [
        {"jsonrpc": "2.0", "method": "subscribe", "params": {"role": WORKER}, "id": 1},
        {"jsonrpc": "2.0", "method": other, "params": params, "id": 2},
    ]
    with serve().connect() as line:
        line.write(json.dumps(batch))

        first = line.read()

        assert [answer["id"] for answer in first] == [1, 2]
        assert line.push()["message"]["sender"] == "boss:s"


@pytest.mark.parametrize("depth", [101, 500, 970, 985])
def test_a_foreign_body_of_any_depth_is_answered_and_pushed(
    serve: Serve, connect: Connect, foreign: Foreign, depth: int
) -> None:
    connect(WORKER)
    served = serve()
    deep = "[" * depth + "]" * depth
    foreign.execute(
        "INSERT INTO outbox (sender, recipient, type, body) VALUES ('stranger:abroad', ?, 'deep', ?)", WORKER, deep
    )
    with served.connect() as line:
        assert line.ask("read", {"id": 1})["body"] == deep
        line.ask("subscribe", {"role": WORKER})
        assert line.push()["message"]["body"] == deep


def test_an_inbox_of_large_messages_is_shown_in_pieces(serve: Serve, connect: Connect) -> None:
    boss = connect("boss:s")
    for _ in range(12):
        boss.send(WORKER, "job", "x" * 3_000_000, correlation_id="c")
    with serve().connect() as line:
        shown = line.ask("inbox", {"role": WORKER})["messages"]
        error = line.error("history", {"correlation_id": "c"})

        assert [message["id"] for message in shown] == [1, 2, 3, 4, 5]
        assert error["data"]["kind"] == "limit"
        assert len(line.ask("history", {"correlation_id": "c", "max": 3})["messages"]) == 3
