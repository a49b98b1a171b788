"""What SQLite's errors are translated to, by what the system has said."""

from __future__ import annotations

import errno
from pathlib import Path

import apsw
import pytest

from raven import DatabaseError, DiskFullError, FileMissingError, ReadOnlyError
from raven.store.errors import from_sqlite

IOERR_READ, IOERR_WRITE, IOERR_SHMSIZE, CANTOPEN = 266, 778, 4874, 14


def failure(code: int) -> apsw.Error:
    found = apsw.exception_for(code)
    assert isinstance(found, apsw.Error)
    return found


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize("code", [IOERR_WRITE, IOERR_SHMSIZE, CANTOPEN])
def test_no_room_a_quota_and_a_size_limit_are_a_full_disk_wherever_they_are_met(code: int, number: int) -> None:
    error = from_sqlite(failure(code), "/bus.db", 0, number)

    assert type(error) is DiskFullError
    assert error.retryable


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
@pytest.mark.parametrize("code", [IOERR_WRITE, CANTOPEN])
def test_what_is_not_allowed_is_read_only(code: int, number: int) -> None:
    assert type(from_sqlite(failure(code), "/bus.db", 0, number)) is ReadOnlyError


@pytest.mark.parametrize("code", [IOERR_WRITE, IOERR_READ, CANTOPEN])
def test_a_disk_that_fails_is_not_full_and_is_not_tried_again(code: int) -> None:
    error = from_sqlite(failure(code), "/bus.db", 0, errno.EIO)

    assert type(error) is DatabaseError
    assert "its disk failed" in str(error)
    assert not error.retryable


def test_too_many_open_files_are_told_with_the_remedy() -> None:
    error = from_sqlite(failure(CANTOPEN), "/bus.db", 0, errno.EMFILE)

    assert type(error) is DatabaseError
    assert "ulimit -n" in str(error)


def test_a_write_of_which_the_system_has_said_nothing_is_a_full_disk() -> None:
    assert type(from_sqlite(failure(IOERR_WRITE), "/bus.db", 0)) is DiskFullError


def test_what_nothing_can_be_seen_of_is_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    path = tmp_path / "bus.db"
    path.touch()

    assert type(from_sqlite(failure(CANTOPEN), str(path), 0, errno.ENOENT)) is FileMissingError


def test_a_file_whose_very_folder_is_gone_is_one_that_cannot_be_opened(tmp_path: Path) -> None:
    failure = apsw.exception_for(CANTOPEN)

    error = from_sqlite(failure, str(tmp_path / "gone" / "bus.db"), 0)

    assert type(error) is FileMissingError
