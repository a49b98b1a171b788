"""The test run itself: its options work, however it is started."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CTRL_C = "tests/receive/test_loop_exit.py::test_a_signal_to_a_waiting_program_leaves_nothing[2-listen]"


def run(*arguments: str, before: str = "true") -> subprocess.CompletedProcess[str]:
    """Run pytest in a shell of its own, after a command of the shell."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    shell = ["sh", "-c", f'{before}; exec "$@"', "sh"]
    return subprocess.run([*shell, *command], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)


def test_ctrl_c_works_in_a_run_that_was_started_in_the_background() -> None:
    done = run(CTRL_C, before="trap '' INT QUIT")

    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["here", "a worker"])
def test_the_last_line_says_how_many_slow_tests_were_left_out(workers: tuple[str, ...]) -> None:
    done = run("-m", "not slow", "tests/delivery/test_lifecycle_model.py", *workers)

    assert done.stdout.splitlines()[-1] == "left out: 1 slow test; scripts/test --all runs it", done.stdout
