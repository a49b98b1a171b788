"""The disk model: the writes that it keeps, the writes that it may lose, and the commits of a log."""

from __future__ import annotations

import random
from pathlib import Path

from raven import BusClient
from scripts.stress.power.commit_points import commits
from scripts.stress.power.disk_model import LOSSES, DiskModel, Image
from scripts.stress.power.recorder import Recorder
from scripts.stress.power.write_log import Created, Entry, Removed, SyncBegun, Synced, Truncated, WriteLog, Written

A = 1
NEW = [Created(A, "a"), SyncBegun(A), Synced(A, 1, True)]


def images(entries: list[Entry], loss: str, tries: int = 200) -> list[Image]:
    """Return random images of a disk after these entries."""
    disk = DiskModel()
    for index, entry in enumerate(entries):
        disk.apply(index, entry)
    rng = random.Random(6)
    return [disk.image(loss, rng) for _ in range(tries)]


def contents(entries: list[Entry], loss: str) -> set[bytes]:
    return {image["a"] for image in images(entries, loss)}


def test_no_loss_removes_a_synced_write() -> None:
    entries = [*NEW, Written(A, 0, b"safe"), SyncBegun(A), Synced(A, 4, False)]

    for loss in LOSSES:
        assert contents(entries, loss) == {b"safe"}


def test_a_write_during_a_sync_is_not_safe() -> None:
    entries = [*NEW, SyncBegun(A), Written(A, 0, b"late"), Synced(A, 3, False)]

    assert contents(entries, "least") == {b""}
    assert contents(entries, "most") == {b"late"}


def test_a_later_write_can_be_there_without_an_earlier_one() -> None:
    entries = [*NEW, Written(A, 0, b"one"), Written(A, 3, b"two")]

    assert contents(entries, "scattered") == {b"", b"one", b"\0\0\0two", b"onetwo"}


def test_a_write_can_end_in_the_middle() -> None:
    entries = [*NEW, Written(A, 0, b"abc")]

    assert contents(entries, "torn") == {b"", b"a", b"ab", b"abc"}


def test_a_sector_can_be_there_without_its_neighbours() -> None:
    entries = [*NEW, Written(A, 256, b"x" * 1024)]

    images_found = contents(entries, "sectors")

    assert bytes(512) + b"x" * 512 in images_found
    assert bytes(1024) + b"x" * 256 in images_found


def test_a_file_can_have_grown_with_zeros_or_random_bytes() -> None:
    entries = [*NEW, Written(A, 0, b"data")]

    images_found = contents(entries, "stretched")

    assert {len(content) for content in images_found} == {4}
    assert {b"data", bytes(4)} < images_found
    assert len(images_found) > 2


def test_a_truncation_can_be_lost_while_a_later_write_is_kept() -> None:
    entries = [*NEW, Written(A, 0, b"long"), SyncBegun(A), Synced(A, 4, False), Truncated(A, 0), Written(A, 0, b"S")]

    assert b"Song" in contents(entries, "scattered")


def test_a_name_is_safe_only_once_the_folder_is() -> None:
    entries: list[Entry] = [Created(A, "a"), Written(A, 0, b"x"), SyncBegun(A), Synced(A, 2, False)]

    assert images(entries, "least")[0] == {}
    assert images([*entries, SyncBegun(A), Synced(A, 4, True)], "least")[0] == {"a": b"x"}


def test_a_deleted_file_can_return() -> None:
    entries = [*NEW, Written(A, 0, b"x"), SyncBegun(A), Synced(A, 4, False), Removed("a", False)]

    assert images(entries, "least")[0] == {"a": b"x"}
    assert images(entries, "most")[0] == {}
    assert images([*NEW, Removed("a", True)], "least")[0] == {}


def test_each_name_is_lost_independently() -> None:
    entries: list[Entry] = [Created(A, "a"), Created(2, "b")]

    assert {tuple(sorted(image)) for image in images(entries, "torn")} == {(), ("a",), ("b",), ("a", "b")}


def test_the_log_of_a_bus_has_a_commit_for_each_send(tmp_path: Path) -> None:
    log = WriteLog()
    with Recorder(tmp_path, log), BusClient.at("boss:s", str(tmp_path / "bus.db")) as bus:
        before = len(commits(log.entries))
        for number in range(5):
            bus.send("worker:s", "note", number)
        images_found = commits(log.entries)

    assert len(images_found) == before + 5
    assert all(commit.begun < commit.ended for commit in images_found)
