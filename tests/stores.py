"""A store below any client, what a test writes to it, and another file in its place."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from raven import BusClient
from raven.delivery.identity import register
from raven.model.address import parse_address
from raven.store.database import Store
from raven.store.transaction import Transaction


@pytest.fixture
def store(db: str) -> Iterator[Store]:
    """Return a store of a bus where boss:s and worker:s are registered."""
    with BusClient.at("boss:s", db) as bus:
        bus.register("worker:s")
    store = Store(db)
    yield store
    store.close()


def registered(store: Store) -> list[str]:
    return [row[0] for row in store.rows("matching_addresses", {"role": "*", "session": "*"})]


def put(tx: Transaction, address: str) -> None:
    """Write something: that an address is registered."""
    register(tx, parse_address(address))


def another_file(db: str) -> None:
    """Put another bus in the place of the one at `db`, with one message of its own."""
    with BusClient.at("new:s", f"{db}.new") as bus:
        bus.send("new:s", "note", "new")
    os.replace(f"{db}.new", db)
