"""SQLite's errors, mapped to raven's by result code and errno."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from raven import DatabaseError, DiskFullError, FileMissingError, ReadOnlyError
from raven.store.errors import from_sqlite
from tests.support import Program

IOERR_READ, IOERR_WRITE, IOERR_SHMSIZE, CANTOPEN = 266, 778, 4874, 14


def failure(code: int) -> apsw.Error:
    exception = apsw.exception_for(code)
    assert isinstance(exception, apsw.Error)
    return exception


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize("code", [IOERR_WRITE, IOERR_SHMSIZE, CANTOPEN])
def test_no_space_a_quota_and_a_size_limit_are_all_a_full_disk(code: int, number: int) -> None:
    error = from_sqlite(failure(code), "/bus.db", 0, number)

    assert type(error) is DiskFullError
    assert error.retryable


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
@pytest.mark.parametrize("code", [IOERR_WRITE, CANTOPEN])
def test_denied_access_is_read_only(code: int, number: int) -> None:
    assert type(from_sqlite(failure(code), "/bus.db", 0, number)) is ReadOnlyError


@pytest.mark.parametrize("code", [IOERR_WRITE, IOERR_READ, CANTOPEN])
def test_an_io_error_is_neither_a_full_disk_nor_retryable(code: int) -> None:
    error = from_sqlite(failure(code), "/bus.db", 0, errno.EIO)

    assert type(error) is DatabaseError
    assert "its disk failed" in str(error)
    assert not error.retryable


def test_too_many_open_files_come_with_a_remedy() -> None:
    error = from_sqlite(failure(CANTOPEN), "/bus.db", 0, errno.EMFILE)

    assert type(error) is DatabaseError
    assert "ulimit -n" in str(error)


def test_a_failed_write_without_an_errno_is_a_full_disk() -> None:
    assert type(from_sqlite(failure(IOERR_WRITE), "/bus.db", 0)) is DiskFullError


def test_an_unexplained_open_failure_is_a_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "bus.db"
    path.touch()

    assert type(from_sqlite(failure(CANTOPEN), str(path), 0, errno.ENOENT)) is FileMissingError


def test_a_file_whose_folder_is_gone_is_a_missing_file(tmp_path: Path) -> None:
    failure = apsw.exception_for(CANTOPEN)

    error = from_sqlite(failure, str(tmp_path / "gone" / "bus.db"), 0)

    assert type(error) is FileMissingError


def test_every_first_call_without_a_descriptor_is_an_error_of_raven_with_the_remedy(
    db: str, spawn: Callable[..., Program]
) -> None:
    program = spawn("first_calls", db)

    errors = dict(program.read_rest())

    assert len(errors) > 15
    assert all(error and error.startswith("DatabaseError: ") and "`ulimit -n`" in error for error in errors.values())
    assert program.wait() == 0  # and with descriptors it goes on
