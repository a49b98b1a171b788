"""Dead letters and maintenance over the socket: list, requeue, purge and prune, while other clients write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from raven import BusClient
from tests.rpc_server import Line, Served
from tests.support import Foreign, wait_until

Serve = Callable[..., Served]
Connect = Callable[..., BusClient]
WORKER = "worker:s"
OTHER = "other:s"


@pytest.fixture
def kill(boss: BusClient, connect: Connect) -> Callable[..., int]:
    """Send a message whose delivery dies, and return its id."""

    def kill(address: str = WORKER, **options: Any) -> int:
        sent = boss.send(address, "job", max_attempts=1, **options)
        recipient = connect(address)
        recipient.claim()
        assert recipient.nack(sent.id, reason="broken") == "dead"
        return sent.id

    return kill


def ids(answer: Any) -> list[int]:
    return [message["id"] for message in answer["messages"]]


@pytest.mark.parametrize("params", [{}, {"ids": []}, {"ids": [1], "all": True}])
def test_a_requeue_says_which_dead_it_means(line: Line, params: dict[str, Any]) -> None:
    assert line.error("requeue", params)["data"]["kind"] == "invalid_params"


def test_more_ids_than_the_writer_takes_at_once_are_revived_too(line: Line, kill: Callable[..., int]) -> None:
    dead = kill()

    assert line.error("requeue", {"ids": [dead, *range(10**6, 10**6 + 2000)]})["data"]["kind"] == "message_not_found"
    assert ids(line.ask("dead")) == [dead]
    assert line.ask("requeue", {"ids": [dead]}) == {"requeued": 1}


def test_a_bound_client_deals_with_its_own_dead_alone(serve: Serve, boss: BusClient, kill: Callable[..., int]) -> None:
    own, others = kill(), kill(OTHER)
    with serve("--as", WORKER).connect() as line:
        assert ids(line.ask("dead")) == [own]
        assert line.error("requeue", {"ids": [others]})["data"]["kind"] == "message_not_found"
        assert line.ask("requeue", {"all": True}) == {"requeued": 1}
        assert line.ask("purge_dead") == {"purged": 0}
    assert [message.id for message in boss.dead()] == [others]


def test_a_client_bound_to_two_addresses_sees_the_dead_of_both_and_says_whose_it_revives(
    serve: Serve, kill: Callable[..., int]
) -> None:
    dead = [kill(), kill(OTHER), kill("third:s"), kill()]
    with serve("--as", WORKER, "--as", OTHER).connect() as line:
        assert ids(line.ask("dead")) == [dead[0], dead[1], dead[3]]
        assert ids(line.ask("dead", {"max": 2})) == dead[:2]
        for method, params in (("requeue", {"all": True}), ("purge_dead", {})):
            assert "'role' is missing" in line.error(method, params)["message"]
        assert line.ask("requeue", {"all": True, "role": OTHER}) == {"requeued": 1}


def fill(foreign: Foreign, count: int) -> None:
    """Store many messages that are acked."""
    foreign.execute(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
        " INSERT INTO outbox (sender, recipient, type, body) SELECT 'a:s', ?, 'old', '1' FROM n",
        count,
        WORKER,
    )
    foreign.execute("UPDATE deliveries SET state = 2, ready_at = 0, finished_at = 1")


@pytest.mark.slow
def test_others_read_and_write_while_one_prunes(served: Served, boss: BusClient, foreign: Foreign) -> None:
    fill(foreign, 80_000)
    boss.send(WORKER, "job")
    with served.connect() as pruner, served.connect() as other:
        pruner.tell("prune", {"older_than_s": 0}, id=1)
        wait_until(lambda: not boss_sees_all(foreign, 80_000), "the first batch")
        answered = 0
        while pruner.is_silent(0):
            other.ask("send", ["boss:s", OTHER, "note"])
            other.ask("inbox", {"role": OTHER, "peek": True, "max": 1})
            answered += 1

        assert pruner.answer()["result"]["messages"] == 80_000
    assert answered > 5


def boss_sees_all(foreign: Foreign, count: int = 20_000) -> bool:
    return bool(foreign.value("SELECT count(*) FROM messages WHERE type = 'old'") == count)


@pytest.mark.process
def test_a_server_that_stops_does_not_wait_for_the_end_of_a_prune(
    served: Served, boss: BusClient, foreign: Foreign
) -> None:
    fill(foreign, 20_000)
    boss.send(WORKER, "job")
    with served.connect() as line:
        line.tell("prune", {"older_than_s": 0}, id=1)
        wait_until(lambda: not boss_sees_all(foreign), "the first batch")

        assert served.stop() == 0

        assert line.answer()["error"]["data"]["kind"] == "closed"
    assert foreign.value("SELECT count(*) FROM messages WHERE type = 'old'") > 0


def test_stats_hold_the_figures_of_the_server_and_those_of_the_bus(
    line: Line, boss: BusClient, kill: Callable[..., int]
) -> None:
    kill()
    boss.send(WORKER, "job")

    full, brief = line.ask("stats"), line.ask("stats", {"full": False})

    assert (full["connections"], full["waits"], full["waiting_upkeep"]) == (1, 0, 0)
    assert full["bus"]["deliveries"]["dead"] == 1
    assert brief["bus"]["deliveries"] is None
    assert full["bus"].keys() == boss.stats().as_dict().keys()


def test_over_the_socket_an_address_named_twice_has_its_dead_once(
    serve: Callable[..., Served], connect: Connect
) -> None:
    worker = connect("worker:s")
    worker.send("worker:s", "note", max_attempts=1)
    worker.nack(worker.claim()[0].id)

    with serve().connect() as line:
        shown = line.ask("dead", {"role": ["worker:s"] * 5})["messages"]
        refused = line.error("dead", {"role": [f"w{number}:s" for number in range(17)]})

    assert [message["id"] for message in shown] == [1]
    assert refused["data"]["kind"] == "limit"
