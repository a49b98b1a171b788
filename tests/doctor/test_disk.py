"""`raven doctor` and storage limits: a full disk, inodes, file size limits, a read-only disk."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from raven.config import Retention
from raven.doctor.backlog import size_check
from tests.doctor_process import DoctorProcess, assert_reports, problems, run_checks
from tests.processes import needs_proc
from tests.support import Foreign, Program

Spawn = Callable[..., Program]
MIB = 1024 * 1024


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """Return the folder on which a test mounts a disk."""
    (tmp_path / "disk").mkdir()
    return tmp_path / "disk"


def on_disk(spawn: Spawn, disk: Path, options: str) -> DoctorProcess:
    """Mount a disk that only this examiner sees, and create a bus there."""
    process = DoctorProcess.on_small_disk(spawn, str(disk / "bus.db"), disk, options)
    assert process.open_bus() is None
    return process


@pytest.mark.parametrize(
    ("left", "verdict", "words"),
    [
        (0, "fail", ["0 MiB free", "100 KiB cannot be written", "No space left", "free some space"]),
        (50 * MIB, "warn", ["50 MiB free"]),
    ],
)
def test_a_full_or_nearly_full_disk_is_reported_with_its_free_space(
    spawn: Spawn, disk: Path, left: int, verdict: str, words: list[str]
) -> None:
    process = on_disk(spawn, disk, "size=300m")
    process.fill(disk / "filler", left)
    full = process.run_checks()
    process.run("rm", disk / "filler")

    assert_reports(full["disk"], verdict, *words)
    assert not problems(process.run_checks())


def test_used_up_inodes_are_reported_despite_free_space(spawn: Spawn, disk: Path) -> None:
    process = on_disk(spawn, disk, "size=300m,nr_inodes=200")
    files = [disk / f"file-{number}" for number in range(200)]
    assert "No space left" in process.try_to_run("touch", *files)
    used_up = process.run_checks()
    process.run("rm", "-f", *files)

    assert_reports(used_up["disk"], "fail", "0 of 200 inodes are free", "remove some files")
    assert not problems(process.run_checks())


def test_a_disk_that_is_mounted_read_only_fails_with_the_remedy(spawn: Spawn, disk: Path) -> None:
    process = on_disk(spawn, disk, "size=300m")
    process.run("mount", "-o", "remount,ro", disk)
    checks = process.run_checks()
    process.run("mount", "-o", "remount,rw", disk)

    assert_reports(checks["file"], "fail", f"the file system of {disk} is mounted read-only", "mount it for writing")
    assert_reports(checks["disk"], "fail", "100 KiB cannot be written", "Read-only file system", "mount it for writing")
    assert not problems(process.run_checks())


def test_a_file_size_limit_that_blocks_every_write_is_reported(spawn: Spawn, bus: str) -> None:
    process = DoctorProcess(spawn("doctor", bus))
    process.limit("RLIMIT_FSIZE", 50 * 1024)
    checks = process.run_checks()
    process.limit("RLIMIT_FSIZE", None)

    assert_reports(checks["disk"], "fail", "100 KiB cannot be written", "File too large", "ulimit -f unlimited")
    assert not problems(process.run_checks())


@needs_proc
def test_another_processs_file_size_limit_is_reported_before_it_is_reached(spawn: Spawn, bus: str) -> None:
    limited = Foreign(spawn("external_writer", bus))
    limited.value("SELECT count(*) FROM messages")
    resource.prlimit(limited.program.pid, resource.RLIMIT_FSIZE, (8 * MIB, 8 * MIB))

    assert_reports(
        run_checks(bus)["disk"], "warn", f"pid {limited.program.pid} ", "may have 8.0 MiB", "ulimit -f unlimited"
    )
    limited.program.kill()
    assert not problems(run_checks(bus))


def test_an_unwritable_folder_is_reported_with_its_mode(spawn: Spawn, bus: str) -> None:
    folder = Path(bus).parent
    process = DoctorProcess.without_rights(spawn, bus)
    folder.chmod(0o500)
    try:
        checks = process.run_checks()
    finally:
        folder.chmod(0o700)

    assert_reports(checks["disk"], "fail", f"100 KiB cannot be written in {folder}", "Permission denied", "chmod")
    assert_reports(checks["file"], "fail", f"{folder} is user", "mode 0500")
    assert not problems(process.run_checks())


@pytest.mark.parametrize(
    ("size", "retention", "words"),
    [
        (100 * MIB, None, None),
        (2048 * MIB, Retention(max_age_s=60), None),
        (2048 * MIB, None, "the file has 2,048 MiB"),
    ],
)
def test_a_large_file_without_retention_is_reported(size: int, retention: Retention | None, words: str | None) -> None:
    check = size_check(size, retention)

    if words is None:
        assert check is None
    else:
        assert check is not None
        assert_reports(check, "warn", words, "raven prune")
