"""Processes: the processes of a home, and their environment, from /proc."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from scripts.harness.deadline import wait_until


def environments(home: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the id and the environment of each living process whose HOME is this folder."""
    for folder in Path("/proc").iterdir():
        with suppress(OSError):
            text = (folder / "environ").read_text(encoding="utf-8", errors="replace")
            values = dict(item.split("=", 1) for item in text.split("\0") if "=" in item)
            if values.get("HOME") == str(home):
                yield int(folder.name), values


def end_all(home: Path) -> None:
    """Kill the processes of a home, daemons as well, and wait until they have ended."""

    def have_ended() -> bool:
        living = [pid for pid, _ in environments(home)]
        for pid in living:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not living

    wait_until(have_ended, "the end of the case's processes", 20, 0.05)
