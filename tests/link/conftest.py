"""What the tests of the link share: NATS servers of both ages."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.harness.nats_server import NATSServer, binaries


def nats_binary(age: str) -> str:
    """Return the path of a nats-server; skips without one, and fails under CI, where both must be."""
    path = binaries().get(age)
    if path is None:
        assert not os.environ.get("CI"), f"the {age} nats-server is not there, and CI must have it"
        pytest.skip(f"the {age} nats-server is not here")
    return path


@pytest.fixture(params=["newest", "oldest"])
def binary(request: pytest.FixtureRequest) -> str:
    """Return the path of each nats-server in turn."""
    return nats_binary(request.param)


@pytest.fixture
def nats(tmp_path: Path, binary: str) -> Iterator[NATSServer]:
    """Start a NATS server with JetStream, which any user may use."""
    with NATSServer(tmp_path / "nats", binary) as server:
        yield server
