"""Interleave: measure several sides in turns, so that other load of the machine falls on all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import TypeVar

from scripts.benchmarks.metric import Side, percentile

_T = TypeVar("_T")


def interleave(sides: Mapping[str, Callable[[], _T]], rounds: int, *, warm_ups: int = 1) -> dict[str, list[_T]]:
    """Run each side once a round, with a different first side in each round; drops the values of warm-up rounds."""
    names = list(sides)
    values: dict[str, list[_T]] = {name: [] for name in names}
    for number in range(-warm_ups, rounds):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            value = sides[name]()
            if number >= 0:
                values[name].append(value)
    return values


def interleave_sides(
    sides: Mapping[str, Callable[[], float]],
    rounds: int,
    unit: str,
    *,
    warm_ups: int = 1,
    notes: Mapping[str, str] | None = None,
) -> dict[str, Side]:
    """Measure the sides in turns, and return each with its values."""
    measured = interleave(sides, rounds, warm_ups=warm_ups)
    return {name: Side(name, unit, tuple(values), (notes or {}).get(name, "")) for name, values in measured.items()}


def percentiles(rounds: Mapping[str, Sequence[Sequence[float]]], percent: float, unit: str) -> list[Side]:
    """Return each side with a percentile of its values in each round."""
    return [Side(name, unit, tuple(percentile(values, percent) for values in lists)) for name, lists in rounds.items()]


def merge_rounds(rounds: Mapping[str, Sequence[Sequence[float]]]) -> dict[str, list[list[float]]]:
    """Return the values of each side as one round, for a percentile that needs more values than one round has."""
    return {name: [list(chain.from_iterable(lists))] for name, lists in rounds.items()}


def mean_us(step: Callable[[], object], count: int) -> float:
    """Return the mean time of a step over `count` calls, in microseconds."""
    begin = time.perf_counter()
    for _ in range(count):
        step()
    return (time.perf_counter() - begin) / count * 1e6
