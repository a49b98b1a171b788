"""The wait quota: how many waits all connections may have, so that one client cannot use up the descriptors of all."""

from __future__ import annotations

import json
import math
import resource
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from raven.host import limits
from raven.host import service as service_module
from raven_rpc.server.front import MAX_CONNECTIONS
from tests.processes import needs_proc, open_files
from tests.rpc_server import Line, Served
from tests.support import DEADLINE_S, wait_until

Serve = Callable[..., Served]


def wait_often(line: Line, params: dict[str, object], count: int) -> list[dict[str, object]]:
    """Call `wait_receipt` `count` times, and return the immediate errors."""
    request = {"jsonrpc": "2.0", "method": "wait_receipt", "params": params, "id": "wait"}
    line.write("\n".join([json.dumps(request)] * count))
    line.tell("last_id", id="last")
    errors = []
    while (answer := line.answer(3 * DEADLINE_S))["id"] != "last":
        errors.append(answer["error"]["data"])
    return errors


@needs_proc
@pytest.mark.process
def test_over_all_connections_no_more_waits_than_there_are_places_and_all_are_given_back(serve: Serve) -> None:
    served = serve("--max-connections", "250")
    message = served.ask("send", ["boss:s", "nobody:s", "note"])
    wait = {"id": message["id"], "timeout_s": 60}
    with served.connect() as steady:
        # Calls that fail or end at once release their quota, too: otherwise fewer waits were allowed below.
        assert len(wait_often(steady, {"id": 999_999}, 200)) == 200
        over = {"jsonrpc": "2.0", "method": "wait_receipt", "params": [message["id"], "acked", 0], "id": 1}
        steady.write(json.dumps([over] * 200))
        assert {answer["error"]["data"]["kind"] for answer in steady.answer()} == {"timeout"}
        before = open_files(served.pid)
        with ExitStack() as stack:
            lines = [stack.enter_context(served.connect()) for _ in range(3)]
            refused = [wait_often(line, wait, 400) for line in lines]

            assert sum(map(len, refused)) == 3 * 400 - 1000
            assert refused[-1][0] == {"kind": "limit", "retryable": True}
            error = steady.error("subscribe", {"role": "worker:s"})
            assert error["data"] == {"kind": "limit", "retryable": True}
            assert "of all connections" in error["message"]
            assert served.ask("ping") == "pong"

            lines[0].close()
            wait_until(lambda: steady.ask("stats")["connections"] == 3, "the end of a connection")
            number = steady.ask("subscribe", {"role": "worker:s"})["subscription"]
        steady.ask("unsubscribe", {"subscription": number})
        # SQLite closes a descriptor of the file only when nothing in the process has a lock on it.
        wait_until(lambda: open_files(served.pid) <= before + 3, "its descriptors", 3 * DEADLINE_S)

        # The whole quota is free again: each wait was released once.
        with served.connect() as line:
            assert len(wait_often(line, wait, 1000)) == 0


@pytest.mark.parametrize(
    ("descriptors", "connections", "count"),
    [
        (math.inf, MAX_CONNECTIONS, 4000),
        (math.inf, 10, 1000),
        (limits.descriptors_for(MAX_CONNECTIONS), MAX_CONNECTIONS, 4000),
        (4096, 1000, 1498),
        (1024, 1000, 100),
        (256, 10, 100),
    ],
)
def test_if_the_system_gives_fewer_descriptors_the_quota_is_smaller(
    descriptors: float, connections: int, count: int
) -> None:
    assert limits.quota_for(descriptors, connections) == count


def test_the_limit_on_descriptors_is_raised_as_far_as_it_goes() -> None:
    soft, hard = before = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 4096 if hard == resource.RLIM_INFINITY else min(4096, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most - 10, hard))

        assert service_module._allow_descriptors(most) == most
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (most, hard)
        assert service_module._allow_descriptors(most - 5) == most
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == soft
