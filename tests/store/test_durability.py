"""Durability: the syncs that reach the disk for each commit, recorded below SQLite."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from raven import BusClient
from raven.config import Durability
from scripts.stress.power.recorder import Recorder
from scripts.stress.power.write_log import Created, SyncBegun, Synced, WriteLog, Written


def sends(folder: Path, durability: Durability, count: int = 5) -> tuple[list[SyncBegun], list[int]]:
    """Send messages and close; return all syncs since the WAL exists, and their number after each send."""
    log = WriteLog()
    counts = []
    with Recorder(folder, log):
        with BusClient.at("boss:s", str(folder / "bus.db"), durability=durability) as bus:
            for number in range(count):
                bus.send("worker:s", "note", number)
                counts.append(sum(isinstance(entry, Synced) for entry in log.entries))
        names = [entry.name if isinstance(entry, Created) else "" for entry in log.entries]
        begin = names.index("bus.db-wal")
    return [entry for entry in log.entries[begin:] if isinstance(entry, SyncBegun)], counts


def test_with_full_durability_each_send_is_synced_past_the_cache_of_the_disk_before_it_returns(tmp_path: Path) -> None:
    syncs, counts = sends(tmp_path, "full")

    assert [after - before for before, after in pairwise(counts)] == [1] * 4
    assert len(syncs) > 5
    assert all(sync.wholly for sync in syncs)


def test_with_normal_durability_no_send_waits_for_the_disk_and_a_checkpoint_is_synced_past_its_cache(
    tmp_path: Path,
) -> None:
    syncs, counts = sends(tmp_path, "normal")

    assert len(set(counts)) == 1
    # The WAL's header, the WAL before the checkpoint, and the file.
    assert [sync.wholly for sync in syncs] == [True] * 3


@pytest.mark.parametrize("length", [1, 17, 40, 55, 100, 4095])
def test_a_new_file_whose_first_page_was_torn_by_a_power_cut_becomes_a_bus_that_can_shrink(
    tmp_path: Path, length: int
) -> None:
    log = WriteLog()
    intact, torn = tmp_path / "intact", tmp_path / "torn"
    intact.mkdir()
    torn.mkdir()
    with Recorder(intact, log):
        BusClient.at("boss:s", str(intact / "bus.db")).close()
    numbers = {entry.name: entry.file for entry in reversed(log.entries) if isinstance(entry, Created)}
    pages = [entry for entry in log.entries if isinstance(entry, Written) and entry.file == numbers["bus.db"]]
    journal = bytearray()
    for entry in log.entries:
        if isinstance(entry, Written) and entry.file == numbers["bus.db-journal"]:
            journal[entry.offset : entry.offset + len(entry.data)] = entry.data
    (torn / "bus.db").write_bytes(pages[0].data[:length])
    (torn / "bus.db-journal").write_bytes(journal)

    with BusClient.at("boss:s", str(torn / "bus.db")) as bus:
        bus.send("worker:s", "note")

        assert bus._store.pragma("auto_vacuum") == "2"
        assert bus._store.pragma("integrity_check") == "ok"
