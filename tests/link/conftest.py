"""What the tests of the link share: NATS servers of both ages, and hosts that are linked by them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from raven import BusClient
from scripts.harness.nats_server import NATSServer, binaries
from tests.linked_hosts import Realm


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


@pytest.fixture
def realm(tmp_path: Path, nats: NATSServer) -> Iterator[Realm]:
    """Yield a realm without hosts yet."""
    with ExitStack() as stack:
        yield Realm(tmp_path, nats.url, stack)


@pytest.fixture
def alpha(realm: Realm) -> BusClient:
    """Return the boss on alpha, which is linked with beta."""
    for host in ("alpha", "beta"):
        realm.link(host)
    return realm.bus("alpha", "boss:s1")


@pytest.fixture(scope="module")
def linked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Realm]:
    """Link alpha and beta for all tests of a module: each test has a session of its own."""
    folder = tmp_path_factory.mktemp("linked")
    with ExitStack() as stack:
        nats = stack.enter_context(NATSServer(folder / "nats", nats_binary("newest")))
        realm = Realm(folder, nats.url, stack)
        for host in ("alpha", "beta"):
            realm.link(host)
        yield realm
