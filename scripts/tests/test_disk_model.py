"""The disk model: the writes that it keeps, the writes that it may lose, and the commit points of a log."""

from __future__ import annotations

import random
from pathlib import Path

from raven import BusClient
from scripts.stress.power.commit_points import commits
from scripts.stress.power.disk_model import LOSSES, Diskette, Image
from scripts.stress.power.recorder import Recorder
from scripts.stress.power.write_log import Cut, Entry, Made, Removed, SyncBegun, Synced, WriteLog, Wrote

A = 1
NEW = [Made(A, "a"), SyncBegun(A), Synced(A, 1, True)]


def images(entries: list[Entry], loss: str, tries: int = 200) -> list[Image]:
    """Return images of a disk that was told this."""
    diskette = Diskette()
    for place, entry in enumerate(entries):
        diskette.apply(place, entry)
    chance = random.Random(6)
    return [diskette.image(loss, chance) for _ in range(tries)]


def contents(entries: list[Entry], loss: str) -> set[bytes]:
    return {image["a"] for image in images(entries, loss)}


def test_what_was_synced_stays_whatever_is_lost() -> None:
    entries = [*NEW, Wrote(A, 0, b"safe"), SyncBegun(A), Synced(A, 4, False)]

    for loss in LOSSES:
        assert contents(entries, loss) == {b"safe"}


def test_what_came_while_a_sync_was_under_way_is_not_safe() -> None:
    entries = [*NEW, SyncBegun(A), Wrote(A, 0, b"late"), Synced(A, 3, False)]

    assert contents(entries, "least") == {b""}
    assert contents(entries, "most") == {b"late"}


def test_a_later_write_can_be_there_without_an_earlier_one() -> None:
    entries = [*NEW, Wrote(A, 0, b"one"), Wrote(A, 3, b"two")]

    assert contents(entries, "scattered") == {b"", b"one", b"\0\0\0two", b"onetwo"}


def test_a_write_can_end_in_the_middle() -> None:
    entries = [*NEW, Wrote(A, 0, b"abc")]

    assert contents(entries, "torn") == {b"", b"a", b"ab", b"abc"}


def test_a_sector_can_be_there_without_its_neighbours() -> None:
    entries = [*NEW, Wrote(A, 256, b"x" * 1024)]

    found = contents(entries, "sectors")

    assert bytes(512) + b"x" * 512 in found
    assert bytes(1024) + b"x" * 256 in found


def test_a_file_can_have_grown_and_hold_zeros_or_anything() -> None:
    entries = [*NEW, Wrote(A, 0, b"data")]

    found = contents(entries, "stretched")

    assert {len(content) for content in found} == {4}
    assert {b"data", bytes(4)} < found
    assert len(found) > 2


def test_a_cut_can_be_lost_while_a_later_write_is_kept() -> None:
    entries = [*NEW, Wrote(A, 0, b"long"), SyncBegun(A), Synced(A, 4, False), Cut(A, 0), Wrote(A, 0, b"S")]

    assert b"Song" in contents(entries, "scattered")


def test_a_name_is_safe_only_once_the_folder_is() -> None:
    entries: list[Entry] = [Made(A, "a"), Wrote(A, 0, b"x"), SyncBegun(A), Synced(A, 2, False)]

    assert images(entries, "least")[0] == {}
    assert images([*entries, SyncBegun(A), Synced(A, 4, True)], "least")[0] == {"a": b"x"}


def test_a_file_that_was_deleted_can_be_back() -> None:
    entries = [*NEW, Wrote(A, 0, b"x"), SyncBegun(A), Synced(A, 4, False), Removed("a", False)]

    assert images(entries, "least")[0] == {"a": b"x"}
    assert images(entries, "most")[0] == {}
    assert images([*NEW, Removed("a", True)], "least")[0] == {}


def test_the_names_are_lost_each_by_itself() -> None:
    entries: list[Entry] = [Made(A, "a"), Made(2, "b")]

    assert {tuple(sorted(image)) for image in images(entries, "torn")} == {(), ("a",), ("b",), ("a", "b")}


def test_the_log_of_a_bus_has_a_commit_for_each_send(tmp_path: Path) -> None:
    log = WriteLog()
    with Recorder(tmp_path, log), BusClient.at("boss:s", str(tmp_path / "bus.db")) as bus:
        before = len(commits(log.entries))
        for number in range(5):
            bus.send("worker:s", "note", number)
        found = commits(log.entries)

    assert len(found) == before + 5
    assert all(commit.begun < commit.ended for commit in found)
