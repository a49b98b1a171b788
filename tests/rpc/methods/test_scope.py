"""A bound client learns nothing of what it may not see: neither from an answer nor from the time of a refusal."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from statistics import quantiles
from typing import Any

import pytest

from raven import BusClient
from raven_rpc.methods.table import METHODS
from tests.rpc.methods.test_bound_escape import RULES
from tests.rpc_server import Line, Served

Serve = Callable[..., Served]
Connect = Callable[..., BusClient]
ME, BOSS, CRITIC = "worker:s", "boss:s", "critic:s"
SECRET = "the token abc was revoked"
# As many digits as the ids of the hidden messages have.
NEVER = 9_999
# A part of the time of a refusal: what the scheduler alone changes between two runs.
NOISE = 0.1
ROUNDS = 8
# More recipients than a walk through all of them could hide.
MANY = [f"r{number}:hidden" for number in range(5000)]


@pytest.fixture
def boss(connect: Connect) -> BusClient:
    return connect(BOSS)


@pytest.fixture
def critic(connect: Connect) -> BusClient:
    return connect(CRITIC)


@pytest.fixture
def line(serve: Serve, boss: BusClient) -> Iterator[Line]:
    with serve("--as", ME).connect() as line:
        yield line


def tailed(line: Line) -> list[Any]:
    line.ask("tail", {"follow": False})
    messages = []
    while (push := line.push())["method"] == "message":
        messages.append(push["message"])
    return messages


def views(line: Line, number: int) -> dict[str, Any]:
    """Return what every read shows of a message with the correlation id `c`."""
    return {
        "read": line.ask("read", {"id": number}),
        "whole": line.ask("read", {"id": number, "role": None}),
        "receipts": line.ask("receipts", {"id": number})["receipts"],
        "wait": line.ask("wait_receipt", {"id": number, "state": "sent"})["receipts"],
        "recipients": line.ask("recipients", {"id": number})["recipients"],
        "history": line.ask("history", {"correlation_id": "c"})["messages"][-1],
        "task": line.ask("history", {"task_id": "t"})["messages"][-1],
        "thread": line.ask("thread", {"id": number})["messages"][-1],
        "tail": tailed(line)[-1],
    }


@pytest.mark.parametrize("ordinal", [0, 7, 8, 600])
def test_a_recipient_sees_nothing_of_the_deliveries_of_others(
    boss: BusClient, critic: BusClient, line: Line, ordinal: int
) -> None:
    others = MANY[:600]
    sent = boss.send([CRITIC, *others[:ordinal], ME, *others[ordinal:]], "job", 1, correlation_id="c", task_id="t")
    critic.claim()
    critic.nack(sent.id, delay_s=3600, reason=SECRET)

    seen = views(line, sent.id)

    assert SECRET not in json.dumps(seen)
    assert seen["recipients"] == [ME]
    for receipts in (seen["receipts"], seen["wait"]):
        assert [(one["recipient"], one["state"], one["attempts"]) for one in receipts] == [(ME, "sent", 0)]
    for name in ("read", "whole", "history", "task", "thread", "tail"):
        one = seen[name]
        assert (one["recipient"], one["state"], one["attempts"], one["delivered_at"]) == (ME, "sent", 0, None), name
    line.ask("claim")
    line.ask("nack", {"id": sent.id, "reason": "mine"})
    assert views(line, sent.id)["history"]["reason"] == "mine"


def test_a_sender_sees_all_deliveries_of_its_message(critic: BusClient, line: Line) -> None:
    number = line.ask("send", {"to": [CRITIC, *MANY[:20]], "type": "job", "correlation_id": "c", "task_id": "t"})["id"]
    critic.claim()
    critic.nack(number, reason="no")

    seen = views(line, number)

    assert seen["recipients"] == [CRITIC, *MANY[:20]]
    assert [one["reason"] for one in seen["receipts"]] == ["no"] + [None] * 20
    assert seen["history"]["reason"] == seen["tail"]["reason"] == "no"
    assert seen["thread"]["attempts"] == 1


def test_a_wait_for_a_receipt_is_for_the_own_deliveries_only(boss: BusClient, critic: BusClient, line: Line) -> None:
    sent = boss.send([CRITIC, ME], "job", max_attempts=1)
    critic.claim()
    critic.nack(sent.id, reason=SECRET)  # dead: a wait for all would fail

    line.ask("claim")
    line.ask("ack", {"id": sent.id})

    assert [one["recipient"] for one in line.ask("wait_receipt", {"id": sent.id, "timeout_s": 5})["receipts"]] == [ME]


def test_a_thread_goes_through_visible_messages_only(boss: BusClient, critic: BusClient, line: Line) -> None:
    mine = line.ask("send", {"to": BOSS, "type": "ask"})["id"]
    hidden = boss.send(CRITIC, "aside", reply_to=mine)
    beyond = critic.send(ME, "seen", reply_to=hidden.id)
    guess = line.ask("send", {"to": ME, "type": "guess", "reply_to": hidden.id})["id"]

    ids = {number: [one["id"] for one in line.ask("thread", {"id": number})["messages"]] for number in (mine, guess)}

    assert ids == {mine: [mine], guess: [guess]}
    assert [one["id"] for one in line.ask("thread", {"id": beyond.id})["messages"]] == [beyond.id]
    assert line.error("thread", {"id": hidden.id})["data"]["kind"] == "message_not_found"
    boss.send(ME, "answer", reply_to=mine)
    assert [one["type"] for one in line.ask("thread", {"id": mine})["messages"]] == ["ask", "answer"]


def test_lists_count_only_the_own_mail(boss: BusClient, critic: BusClient, line: Line) -> None:
    boss.send(CRITIC, "note")
    boss.send("never-registered:s", "note")
    boss.send(ME, "note")
    line.ask("register", {"role": ME})

    peers = {peer["address"]: peer["pending"] for peer in line.ask("peers")["peers"]}
    bus = line.ask("stats")["bus"]

    assert peers == {BOSS: 0, CRITIC: 0, ME: 1}
    assert [(one["address"], one["ready"]) for one in bus["addresses"]] == [(ME, 1)]
    assert (bus["ready"], bus["messages"], bus["deliveries"], bus["attempts"]) == (1, None, None, None)
    assert bus["file_bytes"] == bus["wal_bytes"] == bus["free_bytes"] == 0


def test_two_bound_addresses_see_as_one_of_them(serve: Serve, boss: BusClient, critic: BusClient) -> None:
    sent = boss.send([ME, "helper:s", CRITIC], "job", correlation_id="c")
    with serve("--as", ME, "--as", "helper:s", socket_path=f"{boss.db_path}.two").connect() as line:
        line.ask("claim", {"role": "helper:s"})

        (both,) = line.ask("history", {"correlation_id": "c"})["messages"]
        (one,) = line.ask("history", {"correlation_id": "c", "role": ME})["messages"]

        assert line.ask("recipients", {"id": sent.id})["recipients"] == [ME, "helper:s"]
        assert (both["recipient"], both["attempts"]) == (", ".join(sent.to), 1)
        assert (one["recipient"], one["attempts"]) == (ME, 0)


# The time of a refusal


def times_of(line: Line, method: str, number: int, pairs: int, **params: Any) -> tuple[list[float], list[float]]:
    """Return the seconds that refusals take, of a hidden message and of a missing one, alternating in random order."""
    took: dict[int, list[float]] = {number: [], NEVER: []}
    for _ in range(pairs):
        for id in random.sample([number, NEVER], 2):
            given = {"ids": [id]} if method == "requeue" else {"id": id}
            began = time.perf_counter()
            error = line.error(method, {**params, **given})
            took[id].append(time.perf_counter() - began)
            assert error["data"]["kind"] == "message_not_found"
    return took[number], took[NEVER]


def difference(there: list[float], never: list[float]) -> float:
    """Return by how much the fastest tenths of two lists differ, as a part: the slower times are the scheduler's."""
    fast, other = (quantiles(times, n=10)[0] for times in (there, never))
    return abs(fast - other) / other


def is_as_fast(line: Line, method: str, number: int, pairs: int, noise: float, **params: Any) -> bool:
    """Whether a hidden message and a missing one are refused in the same time.

    The scheduler changes the times by chance, and not in all of several rounds. A leak shows in every round.
    """
    return any(difference(*times_of(line, method, number, pairs, **params)) < noise for _ in range(ROUNDS))


def hidden(boss: BusClient, critic: BusClient) -> dict[str, int]:
    """Fill the bus with messages that ME may not see, and return an id of each kind."""
    boss.send_many([{"to": CRITIC, "type": "note"} for _ in range(1000)])
    root = boss.send(CRITIC, "root")
    critic.send_many([{"to": BOSS, "type": "reply", "reply_to": root.id} for _ in range(2000)])
    return {
        "small": boss.send(CRITIC, "note").id,
        "large": boss.send(CRITIC, "note", "x" * 3_000_000).id,
        "many recipients": boss.send(MANY, "note").id,
        "long thread": root.id,
    }


@pytest.mark.process
def test_a_hidden_message_is_refused_as_fast_as_a_missing_one(serve: Serve, boss: BusClient, critic: BusClient) -> None:
    kinds = hidden(boss, critic)
    with serve("--as", ME).connect() as line:
        for kind, number in kinds.items():
            assert is_as_fast(line, "read", number, 2500, NOISE), kind  # 10,000 pairs in all


@pytest.mark.process
@pytest.mark.parametrize("method", [name for name in METHODS if RULES[name].hides or name == "requeue"])
def test_every_method_refuses_a_hidden_message_as_fast_as_a_missing_one(
    serve: Serve, boss: BusClient, critic: BusClient, method: str
) -> None:
    kinds = hidden(boss, critic)
    params = RULES[method].needs
    with serve("--as", ME).connect() as line:
        for kind, number in kinds.items():
            assert is_as_fast(line, method, number, 300, 2 * NOISE, **params), kind
