"""The guard without a server: scopes that uvicorn does not make, with names, mounts and sockets of other programs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from raven.errors import ConfigError
from raven_http.guard.guard import Guard

TOKEN = "t0ken-of-the-tests"


async def app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})


def call(guard: Guard, **changes: Any) -> list[Any]:
    """Return the events that the guard sends for one request."""
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "query_string": b"",
        "http_version": "1.1",
        "server": None,
        "headers": [],
        **changes,
    }
    events: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"} if scope["type"] == "websocket" else {"type": "http.request"}

    async def send(event: Any) -> None:
        events.append(event)

    asyncio.run(guard(scope, receive, send))
    return events


@pytest.mark.parametrize(
    ("hosts", "server", "host", "expected"),
    [
        (None, None, None, 200),  # a Unix socket has no name and no port
        (None, None, b"", 200),
        (None, None, b"localhost", 200),
        (None, None, b"localhost:7713", 421),
        (None, None, b"evil.example", 421),
        (["bus.example"], ("10.0.0.1", 8000), b"bus.example:8000", 200),
        (["bus.example"], ("10.0.0.1", 8000), b"bus.example", 421),
        (["bus.example"], ("10.0.0.1", 8000), b"localhost:8000", 421),
        (["Bus.Example:443"], ("127.0.0.1", 8000), b"bus.example", 200),  # behind a proxy
        (["bus.example:443"], ("127.0.0.1", 8000), b"bus.example:443", 200),
        (["testserver"], ("testserver", 80), b"testserver", 200),
    ],
)
def test_the_allowed_hosts_stand_alone_or_with_a_port(
    hosts: list[str] | None, server: Any, host: bytes | None, expected: int
) -> None:
    guard = Guard(app) if hosts is None else Guard(app, allowed_hosts=hosts)
    headers = [] if host is None else [(b"host", host)]

    assert call(guard, server=server, headers=headers)[0]["status"] == expected


@pytest.mark.parametrize("entry", ["", "*", "a b", "http://localhost", "localhost:0", "localhost:65536", "a/b", None])
def test_an_allowed_host_that_is_no_name_is_refused(entry: Any) -> None:
    with pytest.raises(ConfigError, match=r"is not NAME or NAME:PORT, such as localhost:8080"):
        Guard(app, allowed_hosts=[entry])
    with pytest.raises(ConfigError, match="no allowed host"):
        Guard(app, allowed_hosts=[])


def test_below_a_mount_the_page_and_its_cookie_have_the_path_of_the_mount() -> None:
    guard = Guard(app, token=TOKEN)
    mounted = {"root_path": "/bus", "scheme": "https"}

    event = call(guard, path="/bus/", query_string=f"token={TOKEN}".encode(), **mounted)[0]
    headers = dict(event["headers"])
    assert (event["status"], headers[b"location"]) == (303, b"/bus/")
    assert headers[b"set-cookie"].endswith(b"; Path=/bus/; HttpOnly; SameSite=Strict; Secure")
    assert call(guard, path="/bus/health", **mounted)[0]["status"] == 200
    assert call(guard, path="/health/health", root_path="/bus")[0]["status"] == 401
    assert call(guard, path="/business/health", **mounted)[0]["status"] == 401


@pytest.mark.parametrize("path", ["http://localhost/health", "*", "evil.example:443"])
def test_a_target_that_is_no_path_is_refused(path: str) -> None:
    assert call(Guard(app), path=path)[0]["status"] == 400


def test_a_websocket_is_closed_and_other_events_reach_the_app() -> None:
    assert [event["type"] for event in call(Guard(app), type="websocket")] == ["websocket.close"]
    assert call(Guard(app), type="other")[0]["status"] == 200
