"""The bridge between the official conformance suite, which speaks HTTP, and `raven mcp`."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from scripts.conformance import Bridge

CLIENT = {"clientInfo": {"name": "test", "version": "1"}, "capabilities": {}, "protocolVersion": "2025-11-25"}
MODERN = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}


@pytest.fixture
def bridge(tmp_path: Path) -> Iterator[Bridge]:
    server = Bridge(tmp_path)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def post(bridge: Bridge, message: Any, session: str = "") -> tuple[int, str, Any]:
    """Return the status, the session and the body of an answer."""
    headers = {"Content-Type": "application/json"} | ({"Mcp-Session-Id": session} if session else {})
    request = urllib.request.Request(bridge.url, json.dumps(message).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            content = answer.read()
            return answer.status, answer.headers.get("Mcp-Session-Id", ""), json.loads(content) if content else None
    except HTTPError as error:
        content = error.read()
        return error.code, "", json.loads(content) if content else None


def test_each_session_has_a_server_of_its_own_until_it_is_deleted(bridge: Bridge) -> None:
    initialize = {"jsonrpc": "2.0", "id": 7, "method": "initialize", "params": CLIENT}
    sessions = [post(bridge, initialize)[1] for _ in range(2)]

    assert len({"", *sessions, *bridge.children}) == 3
    ping = {"jsonrpc": "2.0", "id": "a", "method": "ping"}
    assert post(bridge, ping, sessions[0]) == (200, sessions[0], {"jsonrpc": "2.0", "id": "a", "result": {}})
    assert post(bridge, {"jsonrpc": "2.0", "method": "notifications/initialized"}, sessions[1])[0] == 202
    delete = urllib.request.Request(bridge.url, headers={"Mcp-Session-Id": sessions[0]}, method="DELETE")
    assert urllib.request.urlopen(delete, timeout=60).status == 204
    assert post(bridge, ping, sessions[0])[0] == 404
    assert post(bridge, ping, sessions[1])[0] == 200


def test_modern_requests_need_no_session_and_refusals_have_the_status_of_http(bridge: Bridge) -> None:
    def ask(method: str, meta: Any) -> tuple[int, str, Any]:
        return post(bridge, {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"_meta": meta}})

    assert "2026-07-28" in ask("server/discover", MODERN)[2]["result"]["supportedVersions"]
    assert ask("no/such", MODERN)[0] == 404
    assert ask("tools/list", MODERN | {"io.modelcontextprotocol/protocolVersion": "1999-01-01"})[0] == 400
