"""Rounds: several things measured in turns, so that whatever else the machine does falls on all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import TypeVar

from scripts.benchmarks.figure import Side, percentile

_T = TypeVar("_T")


def in_turns(sides: Mapping[str, Callable[[], _T]], rounds: int, *, warm_ups: int = 1) -> dict[str, list[_T]]:
    """Run each side once a round, another first in each; what the warm-up rounds find is not kept."""
    names = list(sides)
    found: dict[str, list[_T]] = {name: [] for name in names}
    for number in range(-warm_ups, rounds):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            value = sides[name]()
            if number >= 0:
                found[name].append(value)
    return found


def alternate(
    sides: Mapping[str, Callable[[], float]],
    rounds: int,
    unit: str,
    *,
    warm_ups: int = 1,
    notes: Mapping[str, str] | None = None,
) -> dict[str, Side]:
    """Measure each side in turns, and return its figures."""
    found = in_turns(sides, rounds, warm_ups=warm_ups)
    return {name: Side(name, unit, tuple(values), (notes or {}).get(name, "")) for name, values in found.items()}


def percentiles(found: Mapping[str, Sequence[Sequence[float]]], percent: float, unit: str) -> list[Side]:
    """Return for each side what `percent` of its values did not exceed in each round."""
    return [Side(name, unit, tuple(percentile(values, percent) for values in lists)) for name, lists in found.items()]


def together(found: Mapping[str, Sequence[Sequence[float]]]) -> dict[str, list[list[float]]]:
    """Return what each side found as if it were one round: for the percentile of which one round has too few values."""
    return {name: [list(chain.from_iterable(lists))] for name, lists in found.items()}


def each_us(step: Callable[[], object], count: int) -> float:
    """Return how many microseconds one of `count` steps takes."""
    begin = time.perf_counter()
    for _ in range(count):
        step()
    return (time.perf_counter() - begin) / count * 1e6
