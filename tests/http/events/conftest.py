"""Fixtures: the HTTP server of the test's bus, as a process."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from scripts.harness.served import Served


class ServedBridge(Served):
    """`raven serve --http` at a port that stays the same when it starts again."""

    port = 0


@pytest.fixture
def served(db: str) -> Iterator[ServedBridge]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        ServedBridge.port = free.getsockname()[1]
    with ServedBridge(db, None, "--http", f"127.0.0.1:{ServedBridge.port}", "--no-token") as server:
        yield server
