"""Machine: what class of machine the figures were taken on."""

from __future__ import annotations

import os
import platform


def describe() -> str:
    """Return the class of this machine in a few words; its name is nobody's business."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()}-core {platform.machine()} {platform.system()}, {memory:.0f} GiB, "
        f"Python {platform.python_version()}"
    )
