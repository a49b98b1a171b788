"""The folder of a server's socket: writable by other users, reached over symlinks, and with other kinds of files."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.failed_start import refusal
from tests.rpc_server import Served

pytestmark = pytest.mark.process
Serve = Callable[..., Served]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder_path = tmp_path / "place"
    folder_path.mkdir()
    return folder_path


@pytest.mark.parametrize("mode", [0o777, 0o773, 0o702])
def test_a_folder_in_which_any_user_can_replace_the_socket_is_a_warning(serve: Serve, folder: Path, mode: int) -> None:
    os.chmod(folder, mode)

    served = serve(socket_path=str(folder / "s"))

    assert served.ask("ping") == "pong"
    (line,) = served.log().splitlines()
    assert str(folder) in line
    assert "chmod o-w" in line


@pytest.mark.parametrize("mode", [0o700, 0o755, 0o770, 0o1777])
def test_a_folder_in_which_only_the_owner_and_his_group_can_is_not(serve: Serve, folder: Path, mode: int) -> None:
    os.chmod(folder, mode)

    served = serve(socket_path=str(folder / "s"))

    assert served.ask("ping") == "pong"
    assert served.log() == ""


def test_the_folder_at_the_end_of_a_symlink_is_the_one_that_counts(serve: Serve, folder: Path, tmp_path: Path) -> None:
    os.chmod(folder, 0o777)
    (tmp_path / "over").symlink_to(folder)

    served = serve(socket_path=str(tmp_path / "over" / "s"))

    assert served.ask("ping") == "pong"
    assert stat.S_ISSOCK(os.lstat(folder / "s").st_mode)
    assert "can replace the socket" in served.log()
    assert served.stop() == 0
    assert not (folder / "s").exists()


@pytest.mark.parametrize(("target", "said"), [("nowhere", "No such file or directory"), ("over", "cannot be made")])
def test_a_way_over_symlinks_that_lead_nowhere_or_go_round_is_refused(
    db: str, tmp_path: Path, target: str, said: str
) -> None:
    (tmp_path / "over").symlink_to(target)

    assert said in refusal("--db", db, "--socket", str(tmp_path / "over" / "s"))
    assert not (tmp_path / "nowhere").exists()


def test_a_fifo_at_the_path_is_left_alone_and_the_server_does_not_wait_for_its_writer(db: str, folder: Path) -> None:
    path = folder / "s"
    os.mkfifo(path)

    assert f"{path} is a FIFO, not a socket" in refusal("--db", db, "--socket", str(path))
    assert stat.S_ISFIFO(os.lstat(path).st_mode)
