"""The rates of a bound bridge: a client over them is told to wait, and a modest one is served meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx
import pytest

from raven import BusClient
from tests.http_bridge import BridgeHere

MAIL = {"to": "critic:s", "type": "task"}


@pytest.mark.parametrize(
    ("limit", "mail", "burst"),
    [
        ("requests_per_s", MAIL, 50),
        ("deliveries_per_s", {**MAIL, "to": [f"critic:{n}" for n in range(10)]}, 5),
        ("bytes_per_s", {**MAIL, "body": "x" * 1000}, 1),
    ],
)
def test_a_client_over_a_rate_waits_and_one_that_asks_for_little_does_not(
    bridge: Callable[..., BridgeHere], connect: Callable[..., BusClient], limit: str, mail: object, burst: int
) -> None:
    served = bridge(bound=["w:s"], limits={limit: 5})
    with served.client() as modest, served.client() as greedy:
        for client in (modest, greedy):
            assert client.get("/health").status_code == 200
        time.sleep(1.1)  # a connection has a share of its own from then on
        answers = send_until_refused(greedy, mail)
        refused = answers.pop()

        assert len(answers) >= burst
        assert {answer.status_code for answer in answers} == {200}
        assert (refused.status_code, refused.json()["error"], refused.headers["retry-after"]) == (429, "limit", "1")
        assert modest.post("/send", json=MAIL).status_code == 200
        with served.client(headers={"connection": "close"}) as reconnecting:
            others = send_until_refused(reconnecting, mail)
        assert others.pop().status_code == 429
        assert modest.get("/metrics").status_code == 200
    assert connect("critic:s").last_id() == len(answers) + len(others) + 1


def send_until_refused(client: httpx.Client, mail: object) -> list[httpx.Response]:
    answers = []
    while not answers or answers[-1].status_code == 200:
        answers.append(client.post("/send", json=mail))
        assert len(answers) < 500
    return answers
