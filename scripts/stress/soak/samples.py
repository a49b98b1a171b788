"""Samples: what the processes and files of a soak held at one moment after another, and whether that stays flat."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import NamedTuple

# How much more the last fifth may hold than the second one: a part of it, and a little besides.
_PART = 0.15
_MEMORY_MIB = 3.0
_DESCRIPTORS = 8.0  # who watches the WAL for the others changes, and takes some
_FILE_MIB = 2.0
_WAL_LIMIT_MIB = 48.0


class Sample(NamedTuple):
    """One moment: seconds since the begin; messages sent and processes restarted until then; what was held."""

    at_s: float
    messages: int
    restarts: int
    file_mib: float
    wal_mib: float
    memory_mib: dict[str, float]
    descriptors: dict[str, int]


def growths(samples: Sequence[Sample]) -> list[str]:
    """Return in words what has grown: the median of the last fifth against that of the second; the first warms up."""
    fifth = max(1, len(samples) // 5)
    early, late = samples[fifth : 2 * fifth] or samples[:1], samples[-fifth:]
    found = []

    def compare(what: str, unit: str, allowance: float, value: Callable[[Sample], float]) -> None:
        before, after = (statistics.median(map(value, part)) for part in (early, late))
        if after > before * (1 + _PART) + allowance:
            found.append(f"{what} grew from {before:.1f} to {after:.1f} {unit}")

    for name in samples[-1].memory_mib:
        compare(f"memory of {name}", "MiB", _MEMORY_MIB, lambda sample, name=name: sample.memory_mib[name])  # type: ignore[misc]
        compare(f"descriptors of {name}", "", _DESCRIPTORS, lambda sample, name=name: sample.descriptors[name])  # type: ignore[misc]
    compare("the file", "MiB", _FILE_MIB, lambda sample: sample.file_mib)
    wal = max(sample.wal_mib for sample in samples)
    if wal > _WAL_LIMIT_MIB:
        found.append(f"the WAL reached {wal:.0f} MiB, over {_WAL_LIMIT_MIB:.0f}")
    return found
