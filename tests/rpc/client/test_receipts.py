"""Waits for receipts through the client of the socket: they survive a restart of the server."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from raven import BusClient, LostError
from raven_rpc import Client
from tests.dying_server import dying
from tests.rpc_server import Served
from tests.support import DEADLINE_S, wait_until
from tests.thread_call import Asking, wait_receipt

Serve = Callable[..., Served]
Connect = Callable[..., BusClient]
WORKER = "worker:s"
MODES = pytest.mark.parametrize("mode", ["blocking", "async"])


@MODES
def test_a_wait_for_receipts_is_asked_again_for_the_time_that_is_left(tmp_path: Path, mode: str) -> None:
    path = str(tmp_path / "dying.sock")
    with dying(path) as asked, Client(path, "boss:s", connect_timeout_s=0.3) as bus:
        with pytest.raises(LostError):
            wait_receipt(bus, mode, 1, timeout_s=600)

        left = [request["params"].pop("timeout_s") for request in asked]
        assert len({json.dumps(request["params"]) for request in asked}) == 1
        assert left[0] == 600
        assert len(left) > 1
        assert left == sorted(set(left), reverse=True)


@MODES
@pytest.mark.process
def test_a_wait_for_receipts_goes_on_with_a_server_that_was_restarted(
    serve: Serve, connect: Connect, mode: str
) -> None:
    served, worker = serve(), connect(WORKER)
    with Client(served.path, "boss:s", connect_timeout_s=DEADLINE_S) as bus:
        sent = bus.send(WORKER, "note")
        waiting = Asking(lambda: wait_receipt(bus, mode, sent.id))
        for number in (signal.SIGTERM, signal.SIGKILL):
            wait_until(lambda: bus.call("stats")["connections"] == 2, "the wait")
            served.stop(number)
            served = serve()
        wait_until(lambda: bus.call("stats")["connections"] == 2, "the wait")

        worker.ack(sent.id)

        assert [receipt.state for receipt in waiting.outcome()] == ["acked"]
