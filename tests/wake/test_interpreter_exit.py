"""A program that exits while its threads wait says nothing, and leaves no doorbell."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from raven.wake.doorbell import Doorbells
from tests.processes import needs_proc
from tests.support import DEADLINE_S, PROGRAMS, bells, is_watched, wait_until

ADDRESS = "worker:s"


@pytest.mark.parametrize("attempt", range(4))
def test_a_program_that_exits_while_daemon_threads_wait_prints_no_traceback(db: str, attempt: int) -> None:
    program = subprocess.run(
        [sys.executable, str(PROGRAMS / "exiting_loops.py"), db],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
        cwd=PROGRAMS.parents[1],
    )

    assert (program.stderr, program.stdout, program.returncode) == ("", "", 0)
    assert bells(db) == []
    assert not is_watched(db)


@needs_proc
def test_a_doorbell_that_is_closed_under_a_waiter_wakes_it_and_keeps_its_descriptors_until_then(db: str) -> None:
    doorbell = Doorbells(db).create(ADDRESS)
    descriptor = doorbell.fileno()
    rang, open_when_woken = [], []

    def wait() -> None:
        poll = doorbell._poller.poll

        class Poller:
            def poll(self, timeout_ms: float) -> object:
                result = poll(timeout_ms)
                open_when_woken.append(is_fifo(descriptor))
                return result

        doorbell._poller = Poller()  # type: ignore[assignment]
        rang.append(doorbell.wait(DEADLINE_S))

    thread = threading.Thread(target=wait)
    thread.start()
    wait_until(lambda: doorbell._is_awaited, "the wait")
    doorbell.close()
    thread.join(DEADLINE_S)

    assert rang == [True]
    assert open_when_woken == [True]
    assert not is_fifo(descriptor)
    assert bells(db) == []


def is_fifo(descriptor: int) -> bool:
    """Whether a descriptor of this process is a FIFO."""
    return Path(f"/proc/self/fd/{descriptor}").is_fifo() if os.path.lexists(f"/proc/self/fd/{descriptor}") else False
