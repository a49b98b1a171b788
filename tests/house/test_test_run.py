"""The test run itself: it does what it says, however it was started."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CTRL_C = "tests/receive/test_leaving.py::test_a_signal_to_a_waiting_program_leaves_nothing[2-listen]"


def pytest(*arguments: str, before: str = "true") -> subprocess.CompletedProcess[str]:
    """Run pytest in a shell of its own, after a command of the shell."""
    run = [
        "sh",
        "-c",
        f'{before}; exec "$@"',
        "sh",
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        *arguments,
    ]
    return subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)


def test_ctrl_c_works_in_a_run_that_was_started_in_the_background() -> None:
    done = pytest(CTRL_C, before="trap '' INT QUIT")

    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
