"""Figure: what was measured, round by round, the number that comes of it, and the bar that it is held against."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

Relation = Literal["at most", "less than", "at least"]


@dataclass(frozen=True)
class Bar:
    """A bound that a figure keeps or misses."""

    relation: Relation
    limit: float

    def is_met_by(self, value: float) -> bool:
        if self.relation == "at least":
            return value >= self.limit
        return value < self.limit if self.relation == "less than" else value <= self.limit


@dataclass(frozen=True)
class Side:
    """One of the things that were compared: its figure in each round, in `unit`."""

    name: str
    unit: str
    values: tuple[float, ...]
    note: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.values)


@dataclass(frozen=True)
class Figure:
    """One row of the table: the median of what was found in the rounds, and between what the middle half of them lay.

    Where sides are compared, the value is the median of the ratios of rounds that were made next to each other, so that
    a drift of the machine cancels out.
    """

    what: str
    value: float
    unit: str
    low: float
    high: float
    bar: Bar | None = None
    sides: tuple[Side, ...] = ()
    note: str = ""

    @property
    def is_met(self) -> bool | None:
        """Whether the figure keeps its bar; None without one."""
        return None if self.bar is None else self.bar.is_met_by(self.value)

    @classmethod
    def of(
        cls,
        what: str,
        values: Sequence[float],
        unit: str,
        bar: Bar | None = None,
        sides: Sequence[Side] = (),
        note: str = "",
    ) -> Self:
        """Make a figure of what was found in each round."""
        low, high = percentile(values, 25), percentile(values, 75)
        return cls(what, statistics.median(values), unit, low, high, bar, tuple(sides), note)

    @classmethod
    def ratio(cls, what: str, side: Side, floor: Side, bar: Bar | None = None, note: str = "") -> Self:
        """Hold one side against another, round by round."""
        ratios = [ours / theirs for ours, theirs in zip(side.values, floor.values, strict=True)]
        return cls.of(what, ratios, "times", bar, (side, floor), note)

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON shape."""
        return {**asdict(self), "is_met": self.is_met}

    @classmethod
    def from_dict(cls, shape: Mapping[str, Any]) -> Self:
        """Build a figure from the JSON shape that `as_dict` makes."""
        given = {name: value for name, value in shape.items() if name != "is_met"}
        bar = None if given["bar"] is None else Bar(**given["bar"])
        sides = tuple(Side(**{**side, "values": tuple(side["values"])}) for side in given["sides"])
        return cls(**{**given, "bar": bar, "sides": sides})


def at_most(limit: float) -> Bar:
    return Bar("at most", limit)


def less_than(limit: float) -> Bar:
    return Bar("less than", limit)


def at_least(limit: float) -> Bar:
    return Bar("at least", limit)


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the value that `percent` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
