"""The benchmark's metrics: their computation from the rounds, their bars, and their printed form."""

from __future__ import annotations

import importlib
import inspect
import json
import re
from collections.abc import Callable

import pytest

from scripts.benchmarks.catalogue import BENCHMARKS
from scripts.benchmarks.interleave import interleave_sides, mean_us
from scripts.benchmarks.metric import Bar, Metric, Side, at_least, at_most, less_than, percentile
from scripts.benchmarks.report import Report, amount
from tests.sample_report import FLOOR, RAVEN, make_report, metrics_of

REPORT = make_report()
METRICS = metrics_of(REPORT)


def side(*values: float, name: str = "raven") -> Side:
    return Side(name, "us", values)


def of(*values: float, bar: Bar | None = None) -> Metric:
    return Metric.of("a step", values, "us", bar)


def cells(line: str) -> list[str]:
    """Return the cells of one line of a Markdown table, as a reader sees them."""
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_a_ratio_is_the_median_of_the_ratios_of_rounds_made_next_to_each_other() -> None:
    metric = Metric.ratio("a step", side(1, 2, 30), side(4, 1, 10))

    assert metric.value == 2  # of 1/4, 2/1 and 30/10; the ratio of the medians is 2/4
    assert (metric.unit, [one.median for one in metric.sides]) == ("times", [2, 4])


def test_a_drift_of_the_machine_that_falls_on_both_sides_does_not_change_a_ratio() -> None:
    metric = Metric.ratio("a step", side(3, 30, 300), side(2, 20, 200))

    assert (metric.low, metric.value, metric.high) == (1.5, 1.5, 1.5)


def test_a_ratio_of_sides_with_unequal_rounds_is_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        Metric.ratio("a step", side(1, 2, 3), side(1, 2))


def test_a_metric_is_the_median_of_its_rounds_whatever_their_order() -> None:
    assert of(5, 1, 100, 2, 3).value == 3
    assert of(1, 2, 3, 10).value == 2.5


def test_the_spread_is_where_the_middle_half_of_the_rounds_lies() -> None:
    metric = of(*range(100, -1, -1))

    assert (metric.low, metric.high) == (25, 75)


def test_a_metric_of_one_round_has_no_spread() -> None:
    metric = of(7)

    assert (metric.low, metric.value, metric.high) == (7, 7, 7)


@pytest.mark.parametrize(
    ("bar", "value", "is_met"),
    [
        (at_most(10), 9.9, True),
        (at_most(10), 10, True),
        (at_most(10), 10.1, False),
        (less_than(10), 9.9, True),
        (less_than(10), 10, False),
        (less_than(10), 10.1, False),
        (at_least(10), 9.9, False),
        (at_least(10), 10, True),
        (at_least(10), 10.1, True),
        (at_most(0), 0, True),
    ],
    ids=lambda one: f"{one.relation}-{one.limit:g}" if isinstance(one, Bar) else str(one),
)
def test_a_bar_is_met_or_missed_by_its_relation(bar: Bar, value: float, is_met: bool) -> None:
    assert of(value, bar=bar).is_met is is_met


def test_a_metric_without_a_bar_neither_meets_nor_misses_one() -> None:
    assert of(1, 2, 3).is_met is None


@pytest.mark.parametrize("metric", METRICS, ids=lambda one: one.name)
def test_a_metric_comes_back_from_its_json_as_it_was(metric: Metric) -> None:
    values = json.loads(json.dumps(metric.as_dict()))

    assert Metric.from_dict(values) == metric
    assert values["is_met"] is metric.is_met


@pytest.mark.parametrize("percent", [0, 1, 25, 50, 75, 99, 100])
def test_a_percentile_is_one_of_the_values_and_stands_at_its_place_among_them(percent: int) -> None:
    assert percentile([number * 10 for number in range(100, -1, -1)], percent) == percent * 10


@pytest.mark.parametrize("percent", [0, 25, 50, 99, 100])
def test_every_percentile_of_one_value_is_that_value(percent: int) -> None:
    assert percentile([4.5], percent) == 4.5


def recorder() -> tuple[list[str], Callable[[str], Callable[[], float]]]:
    """Return the list of measured sides, and a maker of sides; each side returns the number of its own turn."""
    turns: list[str] = []

    def make(name: str) -> Callable[[], float]:
        def measure() -> float:
            turns.append(name)
            return float(turns.count(name))

        return measure

    return turns, make


def test_another_side_begins_each_round_and_each_is_measured_once_in_it() -> None:
    turns, make = recorder()

    interleave_sides({name: make(name) for name in "abc"}, 4, "us", warm_ups=0)

    assert "".join(turns) == "abcbcacababc"


def test_what_the_warm_up_rounds_find_is_not_counted() -> None:
    turns, make = recorder()

    sides = interleave_sides({"a": make("a"), "b": make("b")}, 3, "us", warm_ups=2)

    assert len(turns) == 2 * (2 + 3)
    assert [one.values for one in sides.values()] == [(3, 4, 5), (3, 4, 5)]


def test_a_side_keeps_its_name_unit_and_note_and_the_order_in_which_it_was_given() -> None:
    _, make = recorder()

    sides = interleave_sides({"b": make("b"), "a": make("a")}, 1, "ms", notes={"a": "in memory"})

    assert list(sides.values()) == [Side("b", "ms", (2.0,)), Side("a", "ms", (2.0,), "in memory")]


def test_a_batch_runs_its_step_as_often_as_told() -> None:
    calls: list[None] = []

    taken = mean_us(lambda: calls.append(None), 7)

    assert len(calls) == 7
    assert taken >= 0


def test_a_report_comes_back_from_its_json_as_it_was() -> None:
    assert Report.load(REPORT.dump()) == REPORT


def test_the_json_of_a_report_holds_every_round_of_every_side() -> None:
    values = json.loads(REPORT.dump())

    [metric] = values["metrics"]["send"]
    assert [one["values"] for one in metric["sides"]] == [list(RAVEN.values), list(FLOOR.values)]
    assert {name: values[name] for name in ("machine", "date", "raven", "quick")} == {
        "machine": REPORT.machine,
        "date": "2025-01-31",
        "raven": "0.6.0",
        "quick": True,
    }


def test_the_table_has_one_line_for_each_metric_under_its_heading() -> None:
    heading, *lines = REPORT.table().splitlines()

    assert re.split("  +", heading) == ["metric", "median (middle half)", "medians of the sides", "bar", "met"]
    assert [line[: len(metric.name)] for line, metric in zip(lines, METRICS, strict=True)] == [
        metric.name for metric in METRICS
    ]


def test_the_columns_of_the_table_stand_below_their_headings() -> None:
    heading, *lines = REPORT.table().splitlines()

    for title in ("median (middle half)", "medians of the sides", "bar", "met"):
        assert {line[heading.index(title) - 2 : heading.index(title)].strip() for line in lines} == {""}, title


def test_a_row_says_the_metric_its_spread_its_sides_its_bar_and_whether_it_is_met() -> None:
    row = REPORT.rows()[0]

    assert row == (
        "send against the same inserts",
        "1.23 times (1.21 to 1.27)",
        "raven 51.5 us, bare apsw 41.5 us",
        "at most 1.1 times",
        "NO",
    )


def test_a_row_says_nothing_of_a_spread_a_side_or_a_bar_that_is_not_there() -> None:
    [row] = [row for row in REPORT.rows() if row[0].startswith("the worst send")]

    assert row[1:] == ("350 ms", "", "", "")


def test_the_markdown_holds_the_cells_of_the_table_below_a_heading() -> None:
    heading, rule, *lines = REPORT.markdown().splitlines()

    assert cells(heading) == ["metric", "median (middle half)", "medians of the sides", "bar", "met"]
    assert set(cells(rule)) == {"---"}
    assert [tuple(cells(line)) for line in lines] == REPORT.rows()


def test_an_upright_stroke_in_a_name_does_not_end_its_cell() -> None:
    metric = Metric.ratio("send | ack", side(1), side(2, name="a|b"))

    [line] = REPORT._replace(metrics={"send": [metric]}).markdown().splitlines()[2:]

    assert cells(line) == ["send | ack", "0.50 times", "raven 1.00 us, a|b 2.00 us", "", ""]


def test_each_note_is_said_once_with_the_name_of_what_it_is_about() -> None:
    twice = REPORT._replace(metrics={**REPORT.metrics, "again": REPORT.metrics["send"]})

    assert twice.notes() == [
        "bare apsw: the body is encoded beforehand",
        "Redis <streams> & co: nothing reaches a disk",
        "requests of eight clients: pipelined",
    ]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0, "0 us"),
        (0.456, "0.46 us"),
        (9.994, "9.99 us"),
        (12.34, "12.3 us"),
        (123.4, "123 us"),
        (12345.6, "12,346 us"),
    ],
)
def test_an_amount_is_written_with_three_digits_that_count(value: float, written: str) -> None:
    assert amount(value, "us") == written
    assert amount(value) == written.removesuffix(" us")


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_name_of_the_catalogue_leads_to_a_function_of_a_folder_and_of_quickness(name: str) -> None:
    module, _, function = BENCHMARKS[name].function.rpartition(".")

    run = getattr(importlib.import_module(f"scripts.benchmarks.{module}"), function)

    assert list(inspect.signature(run).parameters) == ["folder", "quick"]


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_says_in_one_line_what_it_measures(name: str) -> None:
    what = BENCHMARKS[name].description

    assert what == what.strip() != ""
    assert "\n" not in what
    assert len(name) + len(what) <= 110
