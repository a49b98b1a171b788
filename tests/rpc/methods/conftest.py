"""A server, a direct client of its bus, and a bare connection to the server."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from raven import BusClient
from tests.rpc_server import Line, Served


@pytest.fixture
def boss(connect: Callable[..., BusClient]) -> BusClient:
    return connect("boss:s")


@pytest.fixture
def served(serve: Callable[..., Served], boss: BusClient) -> Served:
    return serve()


@pytest.fixture
def line(served: Served) -> Iterator[Line]:
    with served.connect() as line:
        yield line
