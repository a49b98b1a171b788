"""Samples: the memory, descriptors and file sizes of a soak over time, and the check that they do not grow."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import NamedTuple

# The allowed growth from the second to the last fifth: this part of it, and a constant.
_PART = 0.15
_MEMORY_MIB = 3.0
_DESCRIPTORS = 8.0  # the WAL watcher changes, and has more descriptors
_FILE_MIB = 2.0
_WAL_LIMIT_MIB = 48.0


class Sample(NamedTuple):
    """One sample: seconds since the start, messages sent and processes restarted so far, and the resources in use."""

    at_s: float
    messages: int
    restarts: int
    file_mib: float
    wal_mib: float
    memory_mib: dict[str, float]
    descriptors: dict[str, int]


def growths(samples: Sequence[Sample]) -> list[str]:
    """Return a text for each growth: the median of the last fifth of the samples, compared with the second fifth."""
    fifth = max(1, len(samples) // 5)
    early, late = samples[fifth : 2 * fifth] or samples[:1], samples[-fifth:]
    descriptions = []

    def compare(name: str, unit: str, allowance: float, value: Callable[[Sample], float]) -> None:
        before, after = (statistics.median(map(value, part)) for part in (early, late))
        if after > before * (1 + _PART) + allowance:
            descriptions.append(f"{name} grew from {before:.1f} to {after:.1f} {unit}")

    for name in samples[-1].memory_mib:
        compare(f"memory of {name}", "MiB", _MEMORY_MIB, lambda sample, name=name: sample.memory_mib[name])  # type: ignore[misc]
        compare(f"descriptors of {name}", "", _DESCRIPTORS, lambda sample, name=name: sample.descriptors[name])  # type: ignore[misc]
    compare("the file", "MiB", _FILE_MIB, lambda sample: sample.file_mib)
    wal = max(sample.wal_mib for sample in samples)
    if wal > _WAL_LIMIT_MIB:
        descriptions.append(f"the WAL reached {wal:.0f} MiB, over {_WAL_LIMIT_MIB:.0f}")
    return descriptions
