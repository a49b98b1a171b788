"""Store.sync: commits survive a loss of power from then on, and no writer waits for it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from raven import BusClient, DatabaseError
from raven.store.database import Store


def test_a_sync_writes_the_wal_to_the_disk(db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    real = os.fdatasync

    def note(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real(descriptor)

    monkeypatch.setattr("raven.store.database._sync_data", note)
    with BusClient.at("boss:s1", db) as bus:
        bus.send("worker:s1", "task", 1)
        store = Store(db)
        store.sync()
        store.close()

    assert synced == [f"{os.path.realpath(db)}-wal"]


def test_a_sync_that_fails_names_the_file_and_the_reason(db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("raven.store.database._sync_data", fail)
    with BusClient.at("boss:s1", db) as bus:
        bus.send("worker:s1", "task", 1)
        store = Store(db)
        with pytest.raises(DatabaseError, match=r"bus\.db-wal cannot be put on the disk: Input/output error"):
            store.sync()
        store.close()


def test_a_sync_of_a_file_without_a_wal_does_nothing(db: str) -> None:
    BusClient.at("boss:s1", db).close()
    store = Store(db)
    Path(f"{db}-wal").unlink(missing_ok=True)

    store.sync()

    store.close()
