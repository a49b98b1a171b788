"""Changes of one file: at once or not at all, and back, beside other programs that write it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from raven_mcp.install.files import BACKUP, Change, RefusedError, read


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a file with a mode of its own."""
    path = tmp_path / "settings.json"
    path.write_bytes(b"old")
    path.chmod(0o640)
    return path


def test_a_file_that_another_program_has_changed_is_left_alone(file: Path) -> None:
    change = Change(str(file), b"old", b"new", backup=b"old")
    file.write_bytes(b"theirs")

    with pytest.raises(RefusedError, match="has just been changed by another program: try again"):
        change.apply()

    assert [path.name for path in file.parent.iterdir()] == ["settings.json"]
    assert file.read_bytes() == b"theirs"


def test_a_change_that_is_taken_back_leaves_what_another_program_has_written_since(file: Path) -> None:
    change = Change(str(file), b"old", b"new", backup=b"old")
    change.apply()
    assert (file.read_bytes(), Path(f"{file}{BACKUP}").read_bytes()) == (b"new", b"old")
    file.write_bytes(b"theirs")

    change.undo()

    assert file.read_bytes() == b"theirs"
    assert not os.path.exists(f"{file}{BACKUP}")


def test_a_change_keeps_the_mode_also_when_it_is_taken_back(file: Path) -> None:
    for after in (b"new", None):
        change = Change(str(file), b"old", after)
        change.apply()
        assert after is None or file.stat().st_mode & 0o777 == 0o640
        change.undo()

        assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"old", 0o640)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_a_change_by_root_leaves_the_file_its_owner(file: Path) -> None:
    os.chown(file, 12345, 12345)

    Change(str(file), b"old", b"new").apply()

    assert (file.stat().st_uid, file.stat().st_gid) == (12345, 12345)


def test_new_folders_go_when_the_change_is_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c"
    change = Change(str(path), None, b"new")
    change.apply()
    assert path.read_bytes() == b"new"

    change.undo()

    assert list(tmp_path.iterdir()) == []


def test_empty_folders_go_with_the_last_file_and_full_ones_stay(tmp_path: Path) -> None:
    path, other = tmp_path / "own" / "a" / "b", tmp_path / "own" / "other"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    other.write_bytes(b"y")

    Change(str(path), b"x", None, within=str(tmp_path / "own")).apply()
    assert list((tmp_path / "own").iterdir()) == [other]
    Change(str(other), b"y", None, within=str(tmp_path / "own")).apply()

    assert list(tmp_path.iterdir()) == []


def test_a_diff_has_a_mark_where_a_file_ends_without_a_line(file: Path) -> None:
    shown = Change(str(file), b"a\nb", b"a\nc\n").preview()

    assert shown == f"--- {file}\n+++ {file}\n@@ -1,2 +1,2 @@\n a\n-b\n\\ No newline at end of file\n+c\n"


def test_a_file_that_is_no_configuration_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with (tmp_path / "large").open("wb") as large:
        large.truncate(65 << 20)

    for name, reason in (("fifo", "is no file"), ("large", "bytes: that is no configuration")):
        with pytest.raises(RefusedError, match=reason):
            read(str(tmp_path / name))
