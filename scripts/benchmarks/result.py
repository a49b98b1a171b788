"""Result: one row of the table."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple


class Result(NamedTuple):
    """What was measured, the figure, and the bar that it is held against."""

    what: str
    figure: str
    bar: str
    met: bool


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the value that `percent` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def ratio(sides: Sequence[float], floors: Sequence[float]) -> float:
    """Return the median of the ratios of runs that were made in pairs, so that a drift of the machine cancels out."""
    return statistics.median(side / floor for side, floor in zip(sides, floors, strict=True))
