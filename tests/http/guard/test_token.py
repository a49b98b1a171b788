"""The token file: made once, agreed on by all servers of a bus, and closed to all other users."""

from __future__ import annotations

import fcntl
import os
import re
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from raven.errors import ConfigError
from raven_http.guard import token as tokens

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
OTHER_TOKEN = "0123456789abcdef" * 4


@pytest.fixture
def db(tmp_path: Path) -> str:
    path = tmp_path / "bus.db"
    path.touch(0o600)
    return str(path)


@pytest.fixture
def file(db: str) -> Path:
    return Path(f"{db}.http-token")


def test_a_token_is_made_once_and_closed_to_other_users_whatever_the_umask_is(db: str, file: Path) -> None:
    before = os.umask(0)
    try:
        token = tokens.token_of(db)
    finally:
        os.umask(before)

    assert re.fullmatch("[0-9a-f]{64}", token)
    assert file.read_text() == f"{token}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert tokens.token_of(db) == tokens.read_token(str(file)) == token
    file.unlink()
    assert tokens.token_of(db) != token


@pytest.mark.parametrize("content", [None, b"", b"abc123", b"\0" * 65, OTHER_TOKEN[:63].encode()])
def test_servers_that_start_at_once_agree_on_one_token_also_after_a_crash(
    db: str, file: Path, content: bytes | None
) -> None:
    if content is not None:
        file.touch(0o600)
        file.write_bytes(content)

    with ThreadPoolExecutor(16) as threads:
        assert len(set(threads.map(tokens.token_of, [db] * 64))) == 1
    assert file.stat().st_size == 65


def test_a_token_without_its_end_of_line_is_kept(db: str, file: Path) -> None:
    file.touch(0o600)
    file.write_text(OTHER_TOKEN)

    assert tokens.token_of(db) == OTHER_TOKEN


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda file: file.symlink_to(file.parent / "elsewhere"), "is a symlink, not a file: remove it"),
        (lambda file: file.mkdir(), "is a folder, not a file: remove it"),
        (os.mkfifo, "is a FIFO, not a file: remove it"),
        (lambda file: (file.write_text(OTHER_TOKEN), file.chmod(0o640)), r"is open to other users \(mode 0640\): run"),
        (lambda file: (file.write_text(OTHER_TOKEN), file.chmod(0o602)), "remove the file: the server makes a new one"),
        (lambda file: (file.write_text("mine"), file.chmod(0o600)), "another text than a token: remove it"),
        (lambda file: (file.write_text(OTHER_TOKEN * 2), file.chmod(0o600)), "another text than a token: remove it"),
        pytest.param(
            lambda file: (file.touch(0o600), os.chown(file, 3001, 3001)), "belongs to user 3001", marks=as_root
        ),
    ],
)
def test_a_file_that_another_user_could_have_made_or_read_is_refused_and_kept(
    db: str, file: Path, make: Callable[[Path], object], reason: str
) -> None:
    make(file)
    before = os.lstat(file)

    with pytest.raises(ConfigError, match=f"{file}.*{reason}") as caught:
        tokens.token_of(db)
    assert OTHER_TOKEN not in str(caught.value)
    assert os.lstat(file)[:4] == before[:4]
    assert not (file.parent / "elsewhere").exists()


def test_a_folder_without_room_for_the_file_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ConfigError, match=r"cannot be used: not a directory; name another with --token-file"):
        tokens.token_of(str(tmp_path / "file" / "bus.db"))


def test_a_process_that_keeps_the_lock_is_no_reason_to_wait_for_ever(
    db: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "_LOCK_TIMEOUT_S", 0.05)
    tokens.token_of(db)

    with file.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="another process holds the lock"):
            tokens.token_of(db)


@pytest.mark.parametrize("text", ["0123456789abcdef", "!" * 512, '~token;with"all,kinds\\', "x" * 16 + "\r\n"])
def test_a_token_of_the_users_own_is_one_line_of_printable_ascii(tmp_path: Path, text: str) -> None:
    path = tmp_path / "token"
    path.touch(0o600)
    path.write_bytes(text.encode())
    (tmp_path / "link").symlink_to(path)

    assert tokens.read_token(str(path)) == tokens.read_token(str(tmp_path / "link")) == text.strip()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "has 0 characters: use 16 to 512"),
        (b"secretsecret", "has 12 characters"),
        (b"s" * 600, "has 515 characters"),
        (b"secretsecretsecret\nsecret", "that is not printable ASCII"),
        (b"secretsecret secret", "has a space"),
        (b"secretsecretsecret\n\n", "that is not printable ASCII"),
        ("secretsecretsecreté".encode(), "that is not printable ASCII"),
        (b"secretsecretsecret\0", "that is not printable ASCII"),
    ],
)
def test_a_bad_token_is_refused_without_being_shown(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "token"
    path.touch(0o600)
    path.write_bytes(content)

    with pytest.raises(ConfigError, match=reason) as caught:
        tokens.read_token(str(path))
    assert "secret" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: None, "cannot be read: no such file or directory"),
        (lambda path: (path.write_text(OTHER_TOKEN), path.chmod(0o644)), r"does not count: .* is open to other users"),
        (os.mkfifo, "is a FIFO, not a file"),
        (lambda path: path.mkdir(), "is a folder, not a file"),
    ],
)
def test_a_token_file_that_others_can_read_is_refused(
    tmp_path: Path, make: Callable[[Path], object], reason: str
) -> None:
    make(tmp_path / "token")

    with pytest.raises(ConfigError, match=reason):
        tokens.read_token(str(tmp_path / "token"))
    with pytest.raises(ConfigError, match="cannot be read: invalid path"):
        tokens.read_token("a\0b")


@pytest.mark.parametrize("token", [None, 5, b"x" * 20])
def test_a_token_that_is_no_text_is_refused(token: object) -> None:
    with pytest.raises(ConfigError, match="is of type"):
        tokens.check_token(token)  # type: ignore[arg-type]
