"""A raven.yaml that another user made or can change sets nothing, and one of any content is read in a moment."""

from __future__ import annotations

import itertools
import logging
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from raven.config import FILE_NAME, load, write
from raven.errors import ConfigError
from tests.cli.shell import Shell

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
STRANGER = 3001


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder of one's own, below one in which every user can make files."""
    for name in ("RAVEN_DB", "RAVEN_TRUSTED_UIDS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / "sticky" / "work"
    folder.mkdir(parents=True)
    folder.parent.chmod(0o1777)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def plant(work: Path) -> Callable[..., Path]:
    """Put a settings file into the parent folder."""

    def make(text: str = "db: planted.db\n", mode: int = 0o644, uid: int = -1) -> Path:
        path = work.parent / FILE_NAME
        path.write_text(text)
        path.chmod(mode)
        os.chown(path, uid, uid)
        return path

    return make


@as_root
def test_settings_of_another_user_are_refused_with_their_name(plant: Callable[..., Path]) -> None:
    path = plant(uid=STRANGER)

    with pytest.raises(ConfigError) as caught:
        load()
    assert str(caught.value) == (
        f"{path} belongs to user 3001: remove it, or set RAVEN_TRUSTED_UIDS=3001 if you trust that user, "
        "or name the bus with --db or RAVEN_DB"
    )


@pytest.mark.parametrize("mode", [0o666, 0o646, 0o777])
def test_settings_that_other_users_can_write_are_refused(plant: Callable[..., Path], mode: int) -> None:
    path = plant(mode=mode)

    with pytest.raises(ConfigError, match=f"can be written by other users .* run `chmod go-w {path}`"):
        load()


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o444])
def test_settings_of_ones_own_are_read(plant: Callable[..., Path], mode: int) -> None:
    path = plant(mode=mode)

    assert load().db == str(path.parent / "planted.db")


@as_root
def test_settings_of_a_trusted_user_are_read(plant: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAVEN_TRUSTED_UIDS", str(STRANGER))

    path = plant(uid=STRANGER)

    assert load().db == str(path.parent / "planted.db")


@pytest.mark.parametrize("named_by", ["flag", "environment"])
def test_a_bus_that_is_named_needs_no_settings_and_ignores_those_of_others(
    plant: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, named_by: str
) -> None:
    path = plant("db: planted.db\nmax_attempts: 1\nunknown: key\n", mode=0o666)
    if named_by == "environment":
        monkeypatch.setenv("RAVEN_DB", "mine.db")

    with caplog.at_level(logging.WARNING, "raven"):
        config = load("mine.db" if named_by == "flag" else None)
    assert (config.db, config.file, config.max_attempts) == (os.path.abspath("mine.db"), None, 5)
    assert caplog.messages == [f"ignored: {path} can be written by other users (mode 0666)"]


def test_a_link_of_ones_own_is_followed(work: Path) -> None:
    (work / "elsewhere").write_text("db: linked.db\n")
    (work / FILE_NAME).symlink_to(work / "elsewhere")

    assert load().db == str(work / "linked.db")


@as_root
def test_a_link_of_another_user_is_refused_even_to_a_file_of_ones_own(work: Path) -> None:
    (work / "elsewhere").write_text("db: linked.db\n")
    link = work.parent / FILE_NAME
    link.symlink_to(work / "elsewhere")
    os.chown(link, STRANGER, STRANGER, follow_symlinks=False)

    with pytest.raises(ConfigError, match="belongs to user 3001"):
        load()


@as_root
def test_a_command_names_the_owner_and_makes_no_file_where_the_settings_say(
    tmp_path: Path, plant: Callable[..., Path]
) -> None:
    target = tmp_path / "planted.db"
    plant(f"db: {target}\n", uid=STRANGER)
    shell = Shell(tmp_path / "sticky" / "work")
    del shell.environment["RAVEN_DB"]

    said = shell.error(2, "send", "--from", "boss:s", "--to", "worker:s", "-t", "secret")
    assert "belongs to user 3001" in said
    assert not target.exists()
    assert "belongs to user 3001" in shell.error(2, "doctor")


LEVELS = "abcdefghijklmnopqrstuvwxyz"


def nested(first: str, step: str) -> str:
    """Return settings of many aliases, each of which stands for nine of the one before."""
    lines = [f"a: &a {first}"]
    for before, name in itertools.pairwise(LEVELS):
        lines.append(f"{name}: &{name} " + step.format(", ".join([f"*{before}"] * 9)))
    return "\n".join([*lines, f"db: *{LEVELS[-1]}"])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (nested("[x]", "[{}]"), "more than 16 aliases"),
        (nested("{x: 1}", "{{<<: [{}]}}"), "more than 16 aliases"),
        ("db: &a [*a, *a]", "db is"),
        ("log_level: &a {x: *a}", r"log_level is {'x': {'x': {\.\.\.}}}, but"),
        ("db: [[[[[[[[[[x]]]]]]]]]]", r"db is \[\[\[...\]\]\]|db is \[\[\.\.\.\]\]"),
        ("db: " + "[" * 20_000, "more than 16 aliases or 20 levels"),
        ("max_attempts: 1" + "0" * 5_000, "cannot be read|is an integer"),
        ("db: 2026-99-99", "cannot be read: month"),
        ("db: " + "x" * 70_000, "has more than 65,536 bytes"),
        ("max_attempts: " + "x" * 20_000, r"max_attempts is 'xxxx[x]*\.\.\., but"),
        ("x" * 900 + ": 1", r"the key 'xxxx[x]*\.\.\. is not known"),
        ("retention: {max_bytes: [" + "1, " * 2_000 + "]}", r"max_bytes is \[1, 1, 1, ...\], but"),
        ("retention: {" + "x" * 900 + ": 1}", r"'xxxx[x]*\.\.\. is not known"),
    ],
    ids=range(13),
)
def test_settings_of_any_content_are_refused_in_a_moment_with_a_short_error(work: Path, text: str, reason: str) -> None:
    (work / FILE_NAME).write_text(text)

    tracemalloc.start()
    try:
        with pytest.raises(ConfigError, match=reason) as caught:
            load()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(str(caught.value)) < len(str(work)) + 500
    assert peak < 100_000_000


def test_init_writes_through_no_link_and_closes_the_file_to_others(work: Path) -> None:
    (work / "precious").write_text("mine")
    (work / FILE_NAME).symlink_to(work / "precious")

    with pytest.raises(FileExistsError):
        write(FILE_NAME, "db: x.db\n", force=False)
    before = os.umask(0)
    try:
        write(FILE_NAME, "db: x.db\n", force=True)
    finally:
        os.umask(before)

    assert (work / "precious").read_text() == "mine"
    assert (work / FILE_NAME).stat().st_mode & 0o777 == 0o644
    assert not (work / FILE_NAME).is_symlink()
    assert load().db == str(work / "x.db")
    assert sorted(path.name for path in work.iterdir()) == ["precious", FILE_NAME]
