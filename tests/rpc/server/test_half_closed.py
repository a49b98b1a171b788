"""A client that has closed its half: what it asked for is answered, and then the connection ends."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from raven import BusClient
from tests.serving import Served

Serve = Callable[..., Served]
Connect = Callable[..., BusClient]


@pytest.mark.parametrize("method", ["tail", "subscribe"])
@pytest.mark.parametrize("id", [{"id": 1}, {}])
def test_a_subscription_that_begins_when_its_client_has_ended_keeps_no_connection_open(
    serve: Serve, connect: Connect, method: str, id: dict[str, int]
) -> None:
    connect("boss:s").send("worker:s", "note")
    served = serve()
    request = {"jsonrpc": "2.0", "method": method, "params": {"role": "worker:s"}, **id}

    for _ in range(20):
        with served.connect() as line:
            line.write(json.dumps([request]))
            line.half_close()
            while line.read() is not None:
                pass
    assert served.ask("stats")["connections"] == 1
