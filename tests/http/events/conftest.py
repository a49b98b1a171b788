"""Fixtures: event streams, and the HTTP server of the test's bus as a process."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from scripts.harness.served import Served
from tests.event_stream import EventStream
from tests.http_bridge import BridgeHere
from tests.support import closed_at_the_end

MAIL = "?kinds=message,receipt"


class ServedBridge(Served):
    """`raven serve --http` at a port that stays the same when it starts again."""

    port = 0


@pytest.fixture
def served(db: str) -> Iterator[ServedBridge]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        ServedBridge.port = free.getsockname()[1]
    with ServedBridge(db, None, "--http", f"127.0.0.1:{ServedBridge.port}", "--no-token") as server:
        yield server


@pytest.fixture
def open_stream(bridge: Callable[..., BridgeHere]) -> Iterator[Callable[..., EventStream]]:
    """Open event streams of one bridge, each with its position named unless `is_new` is false."""
    served: list[BridgeHere] = []

    def make(query: str = MAIL, *headers: str, waits: bool = True, **options: Any) -> EventStream:
        served.append(served[0] if served else bridge(**options))
        stream = EventStream(served[0].port, query, *headers)
        if waits:
            stream.wait_for_id()
        return stream

    with closed_at_the_end(make) as open_stream:
        yield open_stream
