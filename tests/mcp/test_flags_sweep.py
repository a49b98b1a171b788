"""The files of old sessions are removed from raven's own folders only, and so is a flag that is lowered."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from raven_mcp.hooks.wakes import Wakes
from raven_mcp.session import flags
from raven_mcp.session.announced import Announced

OLD = time.time() - 60 * 86400


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def old_file(folder: Path) -> Path:
    folder.mkdir(parents=True, mode=0o700)
    path = folder / "session"
    path.touch()
    os.utime(path, (OLD, OLD))
    return path


def test_the_old_files_of_a_bus_are_removed(tmp_path: Path) -> None:
    path = old_file(tmp_path / "bus.db-bells" / "flags")
    (tmp_path / "bus.db-bells").chmod(0o700)

    flags.sweep(str(tmp_path / "bus.db"))

    assert not path.exists()


@pytest.mark.parametrize("link", ["bus.db-bells/flags", "bus.db-bells"])
def test_no_file_behind_a_symlink_is_removed(tmp_path: Path, link: str) -> None:
    path = old_file(tmp_path / "documents" / "flags")
    place = tmp_path / link
    place.parent.mkdir(mode=0o700, exist_ok=True)
    place.symlink_to(path.parent if place.name == "flags" else path.parent.parent)

    flags.sweep(str(tmp_path / "bus.db"))
    flags.Flag(str(tmp_path / "bus.db"), path.name).set(False)
    others = [path.with_name(f"session.{suffix}") for suffix in ("announced", "wakes")]
    for other in others:
        other.touch()
    Announced(str(tmp_path / "bus.db"), path.name).forget()
    Wakes(str(tmp_path / "bus.db"), path.name).forget()

    assert path.exists()
    assert all(other.exists() for other in others)
