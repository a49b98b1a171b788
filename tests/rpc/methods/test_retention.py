"""Retention by the server: an idle server deletes messages beyond the limits, and applies due timers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from raven import BusClient
from tests.rpc_server import Served
from tests.support import Foreign, wait_until

Serve = Callable[..., Served]
Connect = Callable[..., BusClient]


@pytest.mark.process
def test_an_idle_server_deletes_by_the_retention_limits_of_raven_yaml(
    serve: Serve, connect: Connect, foreign: Foreign, db: str
) -> None:
    bus = connect("worker:s")
    for message in bus.send_many([{"to": "worker:s", "type": "job"}] * 30):
        bus.ack(message.id)
    bus.send("other:s", "job")
    with open(db.replace("bus.db", "raven.yaml"), "w", encoding="utf-8") as file:
        file.write("retention:\n  max_messages: 5\n  grace_s: 0\n")

    serve(cwd=db.removesuffix("/bus.db"))

    wait_until(lambda: foreign.value("SELECT count(*) FROM messages") == 5, "the messages beyond the limits to go")
    assert foreign.value("SELECT min(id) FROM messages") == 27


def test_an_idle_server_reports_a_dead_delivery_to_its_sender(serve: Serve, connect: Connect, foreign: Foreign) -> None:
    boss, worker = connect("boss:s"), connect("worker:s")
    boss.send("worker:s", "job", max_attempts=1, report="undelivered")
    worker.claim(lease_s=0.05)

    serve()

    wait_until(lambda: foreign.value("SELECT count(*) FROM messages WHERE type = 'raven.undelivered'"), "the report")
    assert boss.inbox()[0].body["state"] == "dead"
