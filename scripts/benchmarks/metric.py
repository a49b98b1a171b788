"""Metric: the value of several rounds, its spread, and its bar."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

Relation = Literal["at most", "less than", "at least"]


@dataclass(frozen=True)
class Bar:
    """A limit that a metric meets or misses."""

    relation: Relation
    limit: float

    def is_met_by(self, value: float) -> bool:
        if self.relation == "at least":
            return value >= self.limit
        return value < self.limit if self.relation == "less than" else value <= self.limit


@dataclass(frozen=True)
class Side:
    """One of the compared systems: its value in each round, in `unit`."""

    name: str
    unit: str
    values: tuple[float, ...]
    note: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.values)


@dataclass(frozen=True)
class Metric:
    """One row of the table: the median of all rounds, and the range of their middle half.

    If sides are compared, the value is the median of the ratios of neighbouring rounds, so that a drift of the machine
    cancels out.
    """

    name: str
    value: float
    unit: str
    low: float
    high: float
    bar: Bar | None = None
    sides: tuple[Side, ...] = ()
    note: str = ""

    @property
    def is_met(self) -> bool | None:
        """Whether the metric meets its bar; None without a bar."""
        return None if self.bar is None else self.bar.is_met_by(self.value)

    @classmethod
    def of(
        cls,
        name: str,
        values: Sequence[float],
        unit: str,
        bar: Bar | None = None,
        sides: Sequence[Side] = (),
        note: str = "",
    ) -> Self:
        """Make a metric from one value per round."""
        low, high = percentile(values, 25), percentile(values, 75)
        return cls(name, statistics.median(values), unit, low, high, bar, tuple(sides), note)

    @classmethod
    def ratio(cls, name: str, side: Side, floor: Side, bar: Bar | None = None, note: str = "") -> Self:
        """Compare one side with another, round by round."""
        ratios = [ours / theirs for ours, theirs in zip(side.values, floor.values, strict=True)]
        return cls.of(name, ratios, "times", bar, (side, floor), note)

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {**asdict(self), "is_met": self.is_met}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build a metric from the JSON form that `as_dict` makes."""
        fields = {name: value for name, value in values.items() if name != "is_met"}
        bar = None if fields["bar"] is None else Bar(**fields["bar"])
        sides = tuple(Side(**{**side, "values": tuple(side["values"])}) for side in fields["sides"])
        return cls(**{**fields, "bar": bar, "sides": sides})


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
