"""The limit on the deliveries of one request: checked before anything is written, whatever the request is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from raven import BusClient
from tests.rpc_server import Line, Served
from tests.support import wait_until

Serve = Callable[..., Served]
MANY = [f"worker-{number}:q" for number in range(6)]
BROADCAST = {"to": "*:q", "type": "t"}
SINGLE = {"to": "a:s", "type": "t"}
REQUESTS: dict[str, tuple[str, Any]] = {
    "a list": ("send", {"to": [*MANY, *(f"other-{number}:q" for number in range(200))], "type": "t"}),
    "a pattern": ("send", BROADCAST),
    "a request": ("request", BROADCAST),
    "patterns": ("send", {"to": ["worker-0:*", "worker-1:*"], "type": "t"}),
    "many": ("send_many", {"messages": [SINGLE] * 103}),
    "many broadcasts": ("send_many", {"messages": [BROADCAST]}),
    "many with keys": ("send_many", {"messages": [{**SINGLE, "dedup_key": f"k{number}"} for number in range(103)]}),
    "a transaction": (
        "transaction",
        {"calls": [{"method": "send", "params": {**SINGLE, "to": MANY}}] * 18},
    ),
}


@pytest.fixture
def boss(connect: Callable[..., BusClient]) -> BusClient:
    boss = connect("boss:s")
    boss.register(*MANY)
    return boss


@pytest.fixture
def sandbox(serve: Serve, boss: BusClient) -> Line:
    """Return a connection to a bound socket that allows 102 deliveries a request, of which a pattern takes 100."""
    return serve("--as", "worker:s", "--limit", "deliveries=102").connect()


def figures(served: Served) -> Any:
    return served.ask("stats", {"full": False})


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_over_the_limit_writes_nothing(sandbox: Line, boss: BusClient, name: str) -> None:
    error = sandbox.error(*REQUESTS[name])

    assert (error["code"], error["data"]["kind"], error["data"]["retryable"]) == (-32022, "limit", False)
    assert "`deliveries` of 102" in error["message"]
    assert "nothing was sent" in error["message"]
    assert boss.last_id() == 0


def test_requests_just_within_the_limit_are_counted_one_by_one(sandbox: Line, boss: BusClient) -> None:
    recipients = [f"one-{number}:s" for number in range(102)]
    sandbox.write(
        b"[%s]"
        % b",".join([b'{"jsonrpc":"2.0","method":"send","params":{"to":["a:s","b:s"],"type":"t"},"id":1}'] * 100)
        + b"\n"
    )

    assert all("result" in answer for answer in sandbox.read())
    assert len(sandbox.ask("send", {"to": recipients, "type": "t"})["waiting"]) == 102
    assert len(sandbox.ask("send_many", {"messages": [SINGLE] * 102})["messages"]) == 102


def test_a_pattern_that_occurs_again_in_a_request_is_expanded_once(serve: Serve, boss: BusClient) -> None:
    with serve("--as", "worker:s", "--limit", "deliveries=160").connect() as line:
        sent = line.ask("send_many", {"messages": [BROADCAST] * 10})["messages"]

    assert [len(boss.recipients(message["id"])) for message in sent] == [6] * 10


def test_the_owners_socket_has_no_limit_unless_it_is_given_one(serve: Serve, boss: BusClient) -> None:
    request = ("send", {"from": "boss:s", "to": [f"{number}:s" for number in range(20_001)], "type": "t"})
    with serve().connect() as line:
        assert len(line.ask(*request)["waiting"]) == 20_001
    with serve("--limit", "deliveries=10", socket_path=f"{boss.db_path}.2.sock").connect() as line:
        assert "`deliveries` of 10" in line.error(*request)["message"]
    with serve("--as", "boss:s", socket_path=f"{boss.db_path}.3.sock").connect() as line:
        assert "`deliveries` of 20,000" in line.error(*request)["message"]


def test_work_that_has_not_begun_is_dropped_with_its_connection(serve: Serve, boss: BusClient) -> None:
    served = serve("--as", "worker:s")
    with boss.transaction():
        with served.connect() as line:
            line.tell("ping", id=0)
            for number in range(50):
                line.tell("send", SINGLE, id=number)
            wait_until(lambda: figures(served)["waiting_writes"] == 50, "the requests of the client")
            # The answer of the ping is not read, so that the close resets the connection.
        wait_until(lambda: figures(served)["connections"] == 1, "the end of the connection")
    wait_until(lambda: figures(served)["waiting_writes"] == 0, "the end of the work")

    assert boss.last_id() <= 1  # the first was under way
