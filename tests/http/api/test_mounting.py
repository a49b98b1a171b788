"""The bridge inside other programs: Starlette and FastAPI, with its lifespan in theirs or without one."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette

from raven import BusClient
from raven_http import create_app
from tests.event_stream import EventStream
from tests.http_bridge import BridgeHere
from tests.support import DEADLINE_S

Serve = Callable[..., BridgeHere]
SEND = {"from": "a:s", "to": "b:s", "type": "note"}


@pytest.mark.parametrize("program", [Starlette, FastAPI])
@pytest.mark.parametrize("has_lifespan", [True, False])
def test_a_program_that_mounts_it_has_the_whole_api(
    bridge: Serve, connect: Callable[..., BusClient], db: str, program: Any, has_lifespan: bool
) -> None:
    bus = create_app(db)

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        async with bus.router.lifespan_context(bus):
            yield

    app = program(lifespan=lifespan) if has_lifespan else program()
    app.mount("/bus", bus)
    served = bridge(app=app)

    assert served.post("/bus/send", json=SEND).status_code == 200
    assert served.get("/bus/message/1").json()["receipts"][0]["recipient"] == "b:s"
    assert served.get("/bus/nothing").json()["error"] == "not_a_route"
    assert served.get("/bus/send").headers["allow"] == "POST"
    assert served.get("/send").status_code == 404
    assert [message.id for message in connect("b:s").inbox()] == [1]
    page = served.get("/bus/").text
    links = re.findall(r'(?:href|src)="([^"#]+)"', page)
    assert {served.get(f"/bus/{link}").status_code for link in links} == {200}
    assert "app.js" in links


def at_once(app: Starlette, count: int) -> list[int]:
    """Send so many messages at once, on an event loop of their own; return their ids."""

    async def send() -> list[int]:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost:80") as client:
            answers = await asyncio.gather(*(client.post("/send", json=SEND) for _ in range(count)))
        return sorted(answer.json()["id"] for answer in answers)

    return asyncio.run(send())


def test_first_requests_at_once_open_one_bus_and_another_event_loop_opens_its_own(db: str) -> None:
    app, before = create_app(db), set(threading.enumerate())

    assert at_once(app, 20) == list(range(1, 21))
    assert at_once(app, 2) == [21, 22]
    assert [one.name for one in threading.enumerate() if one not in before].count("raven-writer") == 1


def test_a_bus_that_cannot_be_opened_is_refused_until_it_can(bridge: Serve, db: str) -> None:
    Path(db).write_text("no bus\n" * 1000)
    app = Starlette()
    app.mount("/", create_app(db, token="a-secret-of-many-characters"))
    served = bridge(app=app)

    stranger = served.get("/stats")
    refusal = served.get("/health")
    Path(db).unlink()

    assert (stranger.status_code, stranger.json()["error"]) == (401, "unauthorized")
    assert (refusal.status_code, refusal.json()["error"]) == (500, "not_a_bus")
    assert refusal.headers["x-content-type-options"] == "nosniff"
    assert served.log().startswith(f"the bus {db} is not an SQLite database")
    assert str(Path(db).parent) not in refusal.text
    assert served.get("/health").json()["status"] == "ok"


@pytest.mark.process
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_open_event_stream_keeps_uvicorn_from_its_end_for_a_moment_only(db: str, number: signal.Signals) -> None:
    program = f"import uvicorn, raven_http; uvicorn.run(raven_http.create_app({db!r}), port=0)"
    with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            greeting = next(line for line in process.stderr if "running on" in line)
            with EventStream(int(greeting.split("127.0.0.1:")[1].split()[0]), "?kinds=message") as stream:
                stream.wait_for_id()
                process.send_signal(number)
                assert list(stream) == []
                said = process.communicate(timeout=DEADLINE_S)[1]
        finally:
            process.kill()
    assert "Application shutdown complete" in said
    assert "ERROR" not in said


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({"bound": ["a"]}, "address 'a' has no ':'"),
        ({"token": "short"}, "token"),
        ({"allowed_hosts": ["http://x"]}, "allowed host 'http://x'"),
        ({"max_request": 0}, "max_request is 0, but must be a whole number from 1 on"),
        ({"max_streams": "many"}, "max_streams is 'many', but must be a whole number from 0 on"),
        ({"limits": {"memori": 1}}, "'memori' is not known: use deliveries,"),
    ],
)
def test_a_bad_option_is_refused_at_once(db: str, options: dict[str, Any], shown: str) -> None:
    with pytest.raises(ValueError, match=shown):
        create_app(db, **options)
