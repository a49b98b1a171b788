"""The socket and HTTP in one process: two ways to one host."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator

import pytest

from raven import BusClient
from raven.errors import BindError, ClosedError
from raven.host.service import Service
from raven.host.worker import ignore
from raven_http.server.binding import Target
from raven_http.server.front import HttpFront
from raven_rpc.server.front import SocketFront
from scripts.harness.line import Line
from tests.http_front import FrontHere
from tests.support import DEADLINE_S, closed_at_the_end, wait_until

HEAVY = 1000  # more than is written on the event loop
NOTE = {"from": "boss:s", "to": "worker:s", "type": "note"}


@pytest.fixture
def serve(db: str) -> Iterator[Callable[..., FrontHere]]:
    with closed_at_the_end(lambda **options: FrontHere(db, **options)) as make:
        yield make


def test_sends_of_both_fronts_are_committed_together(
    serve: Callable[..., FrontHere], db: str, connect: Callable[..., BusClient]
) -> None:
    served = serve(add=lambda service: SocketFront(service, f"{db}.sock"))
    writer = served.service.host.writer
    with served.connect() as wire, Line(f"{db}.sock") as line:
        line.ask("ping")
        is_busy, release = threading.Event(), threading.Event()

        def stay() -> None:
            is_busy.set()
            release.wait(DEADLINE_S)

        served.do(lambda: writer.submit(stay, ignore, HEAVY))
        assert is_busy.wait(DEADLINE_S)
        before = writer.commits
        wire.write(wire.request("/send", json.dumps(NOTE).encode()))
        line.tell("send", NOTE, id=1)
        wait_until(lambda: served.do(writer.pending) == 3, "both sends to wait")
        release.set()

        answer = wire.answer()
        assert answer is not None
        assert {json.loads(answer.body)["id"], line.answer()["result"]["id"]} == {1, 2}
        assert line.ask("stats")["commits"] == before + 2  # that of `stay`, and the one of both sends
    assert len(connect("worker:s").inbox()) == 2


def test_a_front_that_cannot_bind_ends_the_service_and_the_fronts_before_it(
    serve: Callable[..., FrontHere], db: str
) -> None:
    served = serve(address=f"unix:{db}.http")
    service = Service(db)
    service.fronts += [SocketFront(service, f"{db}.sock"), HttpFront(service, Target.parse(served.front.address))]

    with pytest.raises(BindError, match="another server is listening"):
        asyncio.run(service.run())
    with pytest.raises(ClosedError):
        service.host.reader_bus.stats()
    assert served.connect().ask("/health").status == 200


def test_the_figures_count_the_connections_of_the_front(serve: Callable[..., FrontHere]) -> None:
    served = serve()
    with served.connect() as wire, served.connect():
        wait_until(lambda: served.counts() == (2, 0, 0), "both connections")

        assert json.loads(wire.ask("/stats").body)["connections"] == 2
        assert b"\nraven_http_connections 2\n" in wire.ask("/metrics").body


def test_a_request_to_a_host_that_stops_is_worth_another_try(serve: Callable[..., FrontHere]) -> None:
    served = serve()
    with served.connect() as wire:
        wire.ask("/health")
        served.do(lambda: setattr(served.service.host, "is_stopping", True))

        for answer in (wire.ask("/send", json.dumps(NOTE).encode()), wire.ask("/peers"), wire.ask("/health")):
            assert (answer.status, json.loads(answer.body)["error"], answer.headers["retry-after"]) == (
                503,
                "closed",
                "1",
            )
