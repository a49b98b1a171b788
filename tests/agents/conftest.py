"""Fixtures: sessions of coding agents in processes of their own, and the Agents of the bus."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from raven import BusClient
from raven.agents.agents import Agents
from tests.agents.sessions import HOST, Session
from tests.support import closed_at_the_end


@pytest.fixture
def start(db: str) -> Iterator[Callable[..., Session]]:
    """Start sessions by id, each in a process of its own."""
    with closed_at_the_end(lambda native_id, host=HOST: Session(db, native_id, host)) as start:
        yield start


@pytest.fixture
def agents(db: str) -> Iterator[Agents]:
    """Return the agents of the bus, for a session of this process."""
    with BusClient.at("looker:on", db, register=False) as bus:
        yield Agents(bus._store)
