"""Machine: the class of machine on which a run takes its values."""

from __future__ import annotations

import os
import platform


def describe() -> str:
    """Return the class of this machine in a few words, without its name, which is private."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()}-core {platform.machine()} {platform.system()}, {memory:.0f} GiB, "
        f"Python {platform.python_version()}"
    )
