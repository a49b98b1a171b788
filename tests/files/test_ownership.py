"""Ownership: a file counts only if it belongs to a trusted user and is closed to all others."""

from __future__ import annotations

import fcntl
import os
import pwd
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from raven.errors import ConfigError
from raven.files import ownership

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
STRANGER = 3001
FRIEND = 3002


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., str]:
    """Make a file with a mode, an owner and a group, and return its path."""

    def make(mode: int = 0o600, uid: int = -1, gid: int = -1, name: str = "companion") -> str:
        path = tmp_path / name
        path.touch()
        os.chown(path, uid, gid)
        path.chmod(mode)
        return str(path)

    return make


def problem_of(path: str, kind: int = stat.S_IFREG, *, private: bool = False) -> str:
    return str(ownership.distrust_at(path, kind, private=private) or "")


@pytest.mark.parametrize(
    ("mode", "counts", "counts_if_private"),
    [(0o600, True, True), (0o640, True, False), (0o644, True, False), (0o622, False, False), (0o666, False, False)],
)
def test_a_file_of_ones_own_counts_if_it_is_closed_to_others(
    made: Callable[..., str], mode: int, counts: bool, counts_if_private: bool
) -> None:
    path = made(mode)

    assert (problem_of(path) == "", problem_of(path, private=True) == "") == (counts, counts_if_private)
    assert ownership.counts(os.lstat(path), stat.S_IFREG) == counts
    assert ownership.counts(os.lstat(path), stat.S_IFREG, private=True) == counts_if_private


def test_the_error_of_an_open_file_has_its_mode_and_a_command_that_closes_it(made: Callable[..., str]) -> None:
    path = made(0o666, name="bus of mine.db")

    assert problem_of(path) == f"{path} can be written by other users (mode 0666): run `chmod go-w '{path}'`"
    assert problem_of(path, private=True) == f"{path} is open to other users (mode 0666): run `chmod go= '{path}'`"


@pytest.mark.parametrize("kind", [stat.S_IFDIR, stat.S_IFIFO, stat.S_IFSOCK])
def test_a_file_of_another_type_does_not_count(made: Callable[..., str], kind: int) -> None:
    path = made()

    assert problem_of(path, kind).startswith(f"{path} is a file, not a ")
    assert not ownership.counts(os.lstat(path), kind)


def test_a_symlink_does_not_count_even_to_a_file_of_ones_own(made: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(made())

    assert problem_of(str(tmp_path / "link")) == f"{tmp_path}/link is a symlink, not a file: remove it"


def test_a_missing_file_is_no_problem(tmp_path: Path) -> None:
    assert problem_of(str(tmp_path / "missing")) == ""


@as_root
def test_a_file_of_another_user_does_not_count_and_the_error_names_the_owner(made: Callable[..., str]) -> None:
    path = made(uid=STRANGER)

    assert problem_of(path) == (
        f"{path} belongs to user 3001: remove it, or set RAVEN_TRUSTED_UIDS=3001 if you trust that user"
    )
    known = pwd.getpwall()[-1]
    os.chown(path, known.pw_uid, -1)
    assert f"belongs to user {known.pw_name} (uid {known.pw_uid}): " in problem_of(path)


@as_root
@pytest.mark.parametrize("setting", ["3002,3001", " 3001 , 3002", "3002, daemon,3001,"])
def test_a_file_of_a_trusted_user_counts(
    made: Callable[..., str], monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    monkeypatch.setenv("RAVEN_TRUSTED_UIDS", setting)
    ownership.check_setting()

    assert problem_of(made(uid=STRANGER)) == ""
    assert problem_of(made(uid=3003)) != ""
    assert ownership.is_trusted(pwd.getpwnam("daemon").pw_uid) == ("daemon" in setting)


@pytest.mark.parametrize("setting", ["no-such-user", "4294967295", "1" * 5000, "-1", "3001;3002", "\udcff"])
def test_an_unknown_user_in_the_setting_is_an_error_with_its_name(
    monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    monkeypatch.setenv("RAVEN_TRUSTED_UIDS", f"3001,{setting}")

    with pytest.raises(ConfigError, match="RAVEN_TRUSTED_UIDS names the unknown user") as caught:
        ownership.check_setting()
    assert len(str(caught.value)) < 150
    assert ownership.is_trusted(STRANGER)
    assert not ownership.is_trusted(FRIEND)


def test_the_group_may_have_access_if_other_users_are_trusted_and_all_others_never(
    made: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAVEN_TRUSTED_UIDS", str(FRIEND))

    assert problem_of(made(0o660), private=True) == ""
    assert problem_of(made(0o664)) == ""
    assert "is open to other users (mode 0664)" in problem_of(made(0o664), private=True)
    assert "can be written by other users (mode 0666)" in problem_of(made(0o666))


@as_root
def test_the_group_of_one_user_alone_may_write(made: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    alone = next(user for user in pwd.getpwall() if user.pw_name == "daemon")
    monkeypatch.setenv("RAVEN_TRUSTED_UIDS", "")
    monkeypatch.setattr(os, "geteuid", lambda: alone.pw_uid)

    assert problem_of(made(0o664, alone.pw_uid, alone.pw_gid)) == ""
    assert problem_of(made(0o660, alone.pw_uid, alone.pw_gid), private=True) != ""
    assert problem_of(made(0o666, alone.pw_uid, alone.pw_gid)) != ""
    assert problem_of(made(0o664, alone.pw_uid, STRANGER)) != ""
    assert problem_of(made(0o664, 0, 0)) != ""


def test_a_lock_is_made_closed_to_others_whatever_the_umask_is(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    before = os.umask(0o777)
    try:
        first = ownership.open_lock(path)
    finally:
        os.umask(before)
    second = ownership.open_lock(path)

    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert not os.get_inheritable(first)
    fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with pytest.raises(BlockingIOError):
        fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(first)
    os.close(second)


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o666])
def test_a_lock_that_others_can_open_is_refused(made: Callable[..., str], mode: int) -> None:
    path = made(mode)

    with pytest.raises(PermissionError, match="is open to other users"):
        ownership.open_lock(path)


@as_root
def test_a_lock_of_another_user_is_refused(made: Callable[..., str]) -> None:
    path = made(0o600, STRANGER)
    open_before = len(os.listdir("/proc/self/fd"))

    with pytest.raises(PermissionError, match="belongs to user 3001"):
        ownership.open_lock(path)
    assert len(os.listdir("/proc/self/fd")) == open_before


def test_nothing_but_a_file_becomes_a_lock(tmp_path: Path, made: Callable[..., str]) -> None:
    (tmp_path / "link").symlink_to(made())
    (tmp_path / "dangling").symlink_to(tmp_path / "missing")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe", 0o600)

    for name in ("link", "dangling", "folder", "pipe"):
        with pytest.raises(OSError, match=name):
            ownership.open_lock(str(tmp_path / name))
    assert not (tmp_path / "missing").exists()
