"""What a running process uses, as /proc tells it, and processes that have fewer rights than their parent."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

_T = TypeVar("_T")
# prctl(2) and capabilities(7).
_PR_CAPBSET_DROP = 24
_CAP_DAC_OVERRIDE = 1

needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="there is no /proc here")


def resident_mib(pid: int) -> float:
    """Return how much memory a process has now."""
    return _status_kib(pid, "VmRSS") / 1024


def peak_mib(pid: int) -> float:
    """Return how much memory a process has had at most."""
    return _status_kib(pid, "VmHWM") / 1024


def open_files(pid: int) -> int:
    """Return how many descriptors a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def bound_by_permissions(start: Callable[[], _T]) -> _T:
    """Start a process that permissions bind even where this one is root's; skips where that cannot be done."""
    if os.geteuid() != 0:
        return start()
    results: list[_T] = []

    def drop_and_start() -> None:
        # Of this thread alone, and of its children.
        if ctypes.CDLL(None, use_errno=True).prctl(_PR_CAPBSET_DROP, _CAP_DAC_OVERRIDE, 0, 0, 0) == 0:
            results.append(start())

    thread = threading.Thread(target=drop_and_start)
    thread.start()
    thread.join()
    if not results:
        pytest.skip("root cannot give up its rights here")
    return results[0]


def _status_kib(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
