"""Fixtures: a bus for the doctor to examine."""

from __future__ import annotations

import pytest

from raven import BusClient


@pytest.fixture
def bus(db: str) -> str:
    """Create a bus without users, and return its path."""
    BusClient.at("worker:s", db).close()
    return db
