"""A server without free descriptors: connected clients are served, new clients wait, and later all are served again."""

from __future__ import annotations

import asyncio
import json
import logging
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from raven import BusClient
from raven.host.service import FdExhaustionLogger
from tests.processes import needs_proc, open_files
from tests.rpc_server import Served
from tests.support import DEADLINE_S, Program, wait_until

Serve = Callable[..., Served]
Connect = Callable[..., BusClient]
Spawn = Callable[..., Program]

pytestmark = [
    pytest.mark.process,
    needs_proc,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits another process"),
]


@contextmanager
def descriptors_left(served: Served, count: int) -> Iterator[None]:
    """Limit a server to `count` further descriptors."""
    before = resource.prlimit(served.pid, resource.RLIMIT_NOFILE)
    # The limit is one above the highest number, and the numbers have almost no gaps.
    resource.prlimit(served.pid, resource.RLIMIT_NOFILE, (open_files(served.pid) + count, before[1]))
    try:
        yield
    finally:
        if served.process.poll() is None:
            resource.prlimit(served.pid, resource.RLIMIT_NOFILE, before)


def test_who_comes_while_there_is_no_descriptor_is_let_in_later_and_who_is_in_goes_on(serve: Serve) -> None:
    served = serve()
    served.ask("stats")
    with served.connect() as inside, ExitStack() as stack:
        inside.ask("ping")
        with descriptors_left(served, 1):
            late = [stack.enter_context(served.connect()) for _ in range(6)]
            for line in late:
                line.tell("ping", id=1)
            wait_until(lambda: "no descriptor is left" in served.log(), "a word about it")
            for number in range(20):
                assert inside.ask("send", ["boss:s", "worker:s", "note", number])["body"] == number

        assert [line.answer()["result"] for line in late] == ["pong"] * 6
    assert served.log().count("\n") == 1, served.log()


def test_mail_still_comes_to_who_subscribes_without_a_descriptor_for_a_doorbell(serve: Serve, connect: Connect) -> None:
    boss = connect("boss:s")
    served = serve()
    with served.connect() as line:
        # The first subscription opens descriptors for all.
        line.ask("subscribe", {"role": "first:s"})
        with descriptors_left(served, 0):
            line.ask("subscribe", {"role": "worker:s"})
            for number in range(3):
                boss.send("worker:s", "note", number)
                assert line.push()["message"]["body"] == number
    assert "Traceback" not in served.log()


def test_every_method_works_where_it_is_first_called_without_a_descriptor(serve: Serve) -> None:
    served = serve()
    asked = {
        "send": ["boss:s", "worker:s", "note"],
        "send_many": ["boss:s", [{"to": "worker:s", "type": "note"}]],
        "peers": {},
        "dead": {},
        "requeue": {"all": True},
        "purge_dead": {},
        "prune": {"older_than_s": 60},
        "stats": {},
        "rpc.discover": {},
    }
    batch = [{"jsonrpc": "2.0", "method": name, "params": params, "id": name} for name, params in asked.items()]
    with served.connect() as line:
        line.ask("ping")
        with descriptors_left(served, 0):
            line.write(json.dumps(batch))

            answers = line.answer()

    assert [answer["id"] for answer in answers if "result" in answer] == list(asked), (answers, served.log())


def test_a_server_that_is_stopped_while_it_has_no_descriptor_ends_well(serve: Serve) -> None:
    served = serve()
    with served.connect() as inside:
        inside.ask("ping")
        with descriptors_left(served, 0):
            served.connect().close()
            wait_until(lambda: "no descriptor is left" in served.log(), "a word about it")

            served.process.send_signal(signal.SIGTERM)

            assert served.process.wait(DEADLINE_S) == 0
    assert "Traceback" not in served.log()


def test_an_error_of_the_event_loop_that_is_no_lack_of_descriptors_goes_to_asyncio(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(FdExhaustionLogger())
        loop.call_soon(lambda: 1 / 0)
        await asyncio.sleep(0)

    with caplog.at_level(logging.ERROR):
        asyncio.run(run())

    assert [(one.name, one.exc_info is not None) for one in caplog.records] == [("asyncio", True)]


def test_a_server_that_serves_has_imported_all_of_raven_that_it_needs(db: str, spawn: Spawn) -> None:
    assert spawn("late_importer", db).read() == []
