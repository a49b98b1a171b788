"""Fixtures: a bus for the doctor to look at."""

from __future__ import annotations

import pytest

from raven import BusClient


@pytest.fixture
def bus(db: str) -> str:
    """Make a bus that nobody uses, and return its path."""
    BusClient.at("worker:s", db).close()
    return db
