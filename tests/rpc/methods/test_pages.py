"""Pages: an answer holds what fits into it; a message that fits into none is shown without its body."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from raven import BusClient
from raven.model.limits import MAX_PAGE_BYTES
from raven_rpc import Client
from tests.cli.shell import Shell
from tests.rpc_server import Line, Served
from tests.support import Foreign

WORKER = "worker:s"
HUGE = 20_000_000
Connect = Callable[..., BusClient]


@pytest.fixture
def huge(boss: BusClient, foreign: Foreign) -> int:
    """Have another program make the first message of WORKER too large for any page; return its id."""
    first = boss.send(WORKER, "job", correlation_id="c")
    boss.send(WORKER, "job", "behind it", correlation_id="c")
    foreign.execute("UPDATE messages SET body = ? WHERE id = ?", json.dumps("x" * HUGE), first.id)
    return first.id


def shown(messages: list[Any]) -> list[tuple[Any, bool]]:
    return [(message["body"], message.get("truncated", False)) for message in messages]


@pytest.mark.parametrize(("method", "params"), [
    ("inbox", {"role": WORKER, "peek": True}),
    ("inbox", {"role": WORKER}),
    ("claim", {"role": WORKER, "max": 9}),
    ("history", {"correlation_id": "c"}),
])  # fmt: skip
def test_a_message_over_a_page_is_shown_without_its_body_and_the_mail_behind_it(
    line: Line, huge: int, method: str, params: dict[str, Any]
) -> None:
    messages = line.ask(method, params)["messages"]

    assert shown(messages) == [(None, True), ("behind it", False)]
    assert messages[0]["id"] == huge


@pytest.mark.parametrize("ack", ["auto", "manual", "prefetch"])
def test_a_message_over_a_page_is_pushed_without_its_body(line: Line, huge: int, ack: str) -> None:
    line.ask("subscribe", {"role": WORKER, "ack": ack})

    assert shown([line.push()["message"] for _ in range(2)]) == [(None, True), ("behind it", False)]


def test_a_message_over_a_page_can_be_read_acked_and_answered(served: Served, boss: BusClient, huge: int) -> None:
    with Client(served.path, WORKER) as worker:
        cut = worker.claim()[0]
        assert (cut.id, cut.truncated, cut.attempts) == (huge, True, 1)

        assert worker.read(huge).body == "x" * HUGE
        worker.reply(cut, "done")
        worker.ack(huge)

    assert [message.reply_to for message in boss.inbox()] == [huge]
    assert boss.receipts(huge)[0].state == "acked"


def test_a_reply_over_a_page_is_returned_without_its_body(line: Line, connect: Connect) -> None:
    worker = connect(WORKER, max_body_bytes=2 * HUGE)
    line.tell("request", {"from": "asker:s", "to": WORKER, "type": "question"}, id=7)
    worker.reply(next(worker.listen()), "answer", "x" * HUGE)

    reply = line.answer()["result"]

    assert (reply["type"], reply["body"], reply["truncated"]) == ("answer", None, True)
    assert len(line.ask("read", {"id": reply["id"]})["body"]) == HUGE


def test_a_command_says_how_to_read_a_message_over_a_page(served: Served, shell: Shell, huge: int) -> None:
    shown = shell.run("inbox", "-a", WORKER, "--socket", served.path).stdout

    assert f"(over 16 MiB: `raven read {huge} --json` shows the body)" in shown
    assert "behind it" in shown


def test_a_claim_of_very_many_small_messages_leases_what_its_answer_holds(line: Line, boss: BusClient) -> None:
    count = 30_000
    boss.send_many([{"to": WORKER, "type": "job"}] * count)

    taken = line.ask("claim", {"role": WORKER, "max": count})["messages"]

    assert 10_000 < len(taken) < count
    stats = boss.stats()
    assert (stats.in_flight, stats.ready) == (len(taken), count - len(taken))
    assert len(json.dumps(taken)) <= MAX_PAGE_BYTES
