"""Processes: a process is known by its number and its start, and one that has ended is gone."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from raven.agents import process
from raven.agents.process import ProcessId
from tests.support import needs, wait_until


@pytest.fixture(params=["the system's own way", "ps"])
def by_ps(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Ask the system in its own way, or as systems without /proc are asked."""
    if request.param == "ps":
        needs("ps")
        monkeypatch.setattr(process, "_HAS_PROC", False)
    return request.param == "ps"


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as child:
        yield child
        child.kill()


def test_this_process_and_its_parent_are_alive(by_ps: bool) -> None:
    own, parent = process.own(), process.parent()

    assert own == process.of(os.getpid())
    assert own.pid == os.getpid()
    assert own.is_alive()
    assert parent
    assert parent.pid == os.getppid()
    assert parent.is_alive()
    assert parent != own


def test_a_process_that_ended_is_gone_before_its_parent_notices(by_ps: bool, sleeper: subprocess.Popen[bytes]) -> None:
    child = process.of(sleeper.pid)
    assert child
    assert child.is_alive()

    sleeper.kill()
    wait_until(lambda: not child.is_alive(), "the end of the process")

    assert process.of(sleeper.pid) is None
    sleeper.wait()
    assert not child.is_alive()


def test_another_start_is_another_process(by_ps: bool) -> None:
    own = process.own()

    assert not own._replace(started=own.started - 1).is_alive()


@pytest.mark.parametrize("pid", [0, -1, 2**22 + 1, 2**40])
def test_a_number_that_no_process_has_is_none(by_ps: bool, pid: int) -> None:
    assert process.of(pid) is None


def test_the_start_by_ps_is_a_time_of_day(sleeper: subprocess.Popen[bytes]) -> None:
    needs("ps")
    started = process._start_by_ps(sleeper.pid)

    assert started
    assert abs(started - time.time()) < 60


def test_a_system_without_proc_and_ps_knows_only_this_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(process, "_HAS_PROC", False)
    monkeypatch.setattr(os, "defpath", str(tmp_path))

    assert process.of(os.getpid()) is None
    assert process.own() == ProcessId(os.getpid(), 0)


def test_a_program_of_any_name_has_its_start(tmp_path: Path) -> None:
    program = tmp_path / ") Z 1 ("
    shutil.copy(str(shutil.which("sleep")), program)
    with subprocess.Popen([program, "60"]) as child:
        try:
            own, found = process.own(), process.of(child.pid)
            assert found
            assert found.started >= own.started
            assert found.is_alive()
        finally:
            child.kill()
