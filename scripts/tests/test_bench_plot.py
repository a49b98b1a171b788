"""The plot of a report: well-formed, whole by itself, true to the metrics, and nothing in it lies on anything else."""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ET
from dataclasses import replace
from typing import NamedTuple

import pytest

from scripts.benchmarks import plot
from scripts.benchmarks.metric import Metric, Side, at_least, at_most
from scripts.benchmarks.report import Report, amount
from scripts.canvas import WIDTH, room_for, shorten, wrap
from tests.sample_report import PEERS, make_report, metrics_of

SVG = "{http://www.w3.org/2000/svg}"
REPORT = make_report()
METRICS = metrics_of(REPORT)


class Span(NamedTuple):
    """The left and right end of an element, and its height on the page."""

    left: float
    right: float
    y: float
    text: str = ""


def drawn(*metrics: Metric) -> ET.Element:
    """Return the plot of these metrics, or of the whole report."""
    report = REPORT._replace(metrics={"one": list(metrics)}) if metrics else REPORT
    return ET.fromstring(plot.draw(report))


def texts(svg: ET.Element) -> list[str]:
    """Return all texts of the plot; a shortened text counts with its full form."""
    return [element.findtext(f"{SVG}title") or element.text or "" for element in svg.iter(f"{SVG}text")]


def spans_of_texts(svg: ET.Element) -> list[Span]:
    """Return the largest extent of each text in a wide font."""
    spans = []
    for element in svg.iter(f"{SVG}text"):
        text, x = element.text or "", float(element.attrib["x"])
        wide = room_for(text, float(element.attrib["font-size"]), bold="font-weight" in element.attrib)
        left = x - wide if element.get("text-anchor") == "end" else x
        spans.append(Span(left, left + wide, float(element.attrib["y"]), text))
    return spans


def spans_of_bars(svg: ET.Element) -> list[Span]:
    """Return the extents of the bars in their order, without the page and the key."""
    spans = []
    for element in svg.findall(f"{SVG}rect"):
        x, y, width, height = (float(element.attrib[name]) for name in ("x", "y", "width", "height"))
        if height < 20 and y > 100:
            spans.append(Span(x, x + width, y + height / 2))
    return spans


def colour_of(svg: ET.Element, text: str) -> str | None:
    return next(element.get("fill") for element in svg.iter(f"{SVG}text") if element.text == text)


def test_the_plot_is_one_svg_of_the_width_of_a_page() -> None:
    svg = drawn()

    assert svg.tag == f"{SVG}svg"
    assert svg.get("viewBox") == f"0 0 {svg.get('width')} {svg.get('height')}"
    assert svg.get("width") == "860"


def test_the_summary_draws_its_few_comparisons_and_fits_on_a_screen() -> None:
    wake = replace(METRICS[0], name="wake of an idle subscriber, send to delivery: p50")
    report = REPORT._replace(metrics={"one": [*METRICS, wake]})

    svg = ET.fromstring(plot.draw_summary(report))

    assert wake.name in texts(svg)
    assert not {metric.name for metric in METRICS} & {*texts(svg)}
    assert int(svg.attrib["height"]) < 600


def test_the_plot_needs_nothing_but_itself() -> None:
    svg = drawn()

    assert {element.tag.removeprefix(SVG) for element in svg.iter()} == {"svg", "title", "rect", "line", "text"}
    assert not [name for element in svg.iter() for name in element.attrib if "href" in name or name.startswith("on")]
    assert "url(" not in plot.draw(REPORT)


def test_a_white_page_lies_under_everything_so_that_a_dark_theme_does_not_shine_through() -> None:
    svg = drawn()
    page = next(element for element in svg if element.tag != f"{SVG}title")

    assert (page.tag, page.get("fill")) == (f"{SVG}rect", "#ffffff")
    assert float(page.attrib["width"]) == float(svg.attrib["width"]) - 1
    assert float(page.attrib["height"]) == float(svg.attrib["height"]) - 1


def test_the_head_says_what_was_measured_on_what_machine_and_when() -> None:
    head = " ".join(texts(drawn())[:2])

    for part in (f"raven {REPORT.raven}", REPORT.machine, REPORT.date, "quick"):
        assert part in head


def test_every_metric_with_sides_or_with_a_bar_is_named_in_the_order_of_the_report() -> None:
    written = " ".join(texts(drawn()))
    compared = [metric.name for metric in METRICS if metric.sides]
    held = [metric.name for metric in METRICS if metric.bar and not metric.sides]

    places = [written.index(what) for what in compared + held]

    assert places == sorted(places)


def test_every_side_is_drawn_with_its_name_and_its_median() -> None:
    written = texts(drawn())

    for metric in METRICS:
        for side in metric.sides:
            assert written[written.index(side.name) :].count(amount(side.median, side.unit)), side.name


def test_a_metric_with_neither_sides_nor_a_bar_is_left_to_the_table() -> None:
    assert "the worst send" not in " ".join(texts(drawn()))


def test_names_with_the_signs_of_xml_are_shown_as_they_are() -> None:
    metric = Metric.ratio('a < b & "c"', Side("<raven/>", "us", (1.0,)), Side("]]> &amp;", "us", (2.0,)))

    written = texts(drawn(metric))

    assert {'a < b & "c"', "<raven/>", "]]> &amp;"} <= set(written)


def test_a_bar_is_as_long_as_its_median_on_the_scale_of_its_group() -> None:
    bars = spans_of_bars(drawn(Metric.of("all", (1.0,), "us", sides=PEERS)))

    lengths = [bar.right - bar.left for bar in bars]

    assert [length / lengths[0] for length in lengths] == pytest.approx(
        [side.median / PEERS[0].median for side in PEERS], rel=0.01
    )
    assert {bar.left for bar in bars} == {bars[0].left}


def test_each_group_has_a_scale_of_its_own() -> None:
    small = Metric.ratio("small", Side("raven", "us", (1.0,)), Side("other", "us", (2.0,)))
    great = Metric.ratio("great", Side("raven", "ms", (4000.0,)), Side("other", "ms", (8000.0,)))

    lengths = [round(bar.right - bar.left) for bar in spans_of_bars(drawn(small, great))]

    assert lengths[:2] == lengths[2:]


def test_bars_of_raven_have_a_colour_of_their_own_and_without_its_name_the_first_side_has() -> None:
    named = Metric.ratio("named", Side("bare apsw", "us", (1.0,)), Side("raven", "us", (2.0,)))
    unnamed = Metric.ratio("unnamed", Side("full", "us", (1.0,)), Side("empty", "us", (2.0,)))

    fills = [element.get("fill") for element in drawn(named, unnamed).findall(f"{SVG}rect")][-4:]

    assert fills[0] == fills[3] != fills[1] == fills[2]


def test_a_thin_line_spans_the_middle_half_of_the_rounds_and_one_round_has_none() -> None:
    spread = Side("raven", "us", tuple(float(value) for value in range(101)))
    svg = drawn(Metric.of("a step", (1.0,), "us", sides=(spread, Side("other", "us", (100.0,)))))

    level = [element for element in svg.iter(f"{SVG}line") if element.get("y1") == element.get("y2")]
    lines = [Span(*(float(element.attrib[name]) for name in ("x1", "x2", "y1"))) for element in level]
    ours, theirs = spans_of_bars(svg)

    [line] = [line for line in lines if line.y >= ours.y]
    pixels = (theirs.right - theirs.left) / 100
    assert (line.left, line.right) == pytest.approx((ours.left + 25 * pixels, ours.left + 75 * pixels), abs=0.2)


@pytest.mark.parametrize(("limit", "status", "colour"), [(3, "met", "#1a7f37"), (1, "missed", "#cf222e")])
@pytest.mark.parametrize("sides", [(Side("raven", "ms", (2.0,)),), ()], ids=["group", "strip"])
def test_a_bar_is_said_in_words_and_whether_it_is_met(
    sides: tuple[Side, ...], limit: float, status: str, colour: str
) -> None:
    svg = drawn(Metric.of("a step", (2.0,), "ms", at_most(limit), sides))

    assert f"2.00 ms, bar: at most {limit}" in texts(svg)
    assert colour_of(svg, status) == colour


def test_a_strip_shows_the_value_as_a_share_of_its_limit_and_is_cut_where_it_ends() -> None:
    half, whole, far = (Metric.of(f"{value}", (value,), "/s", at_least(10)) for value in (5.0, 10.0, 900.0))

    bars = spans_of_bars(drawn(half, whole, far))

    lengths = [bar.right - bar.left for bar in bars]
    track = lengths[0]
    assert lengths[0::2] == [track] * 3
    assert lengths[1::2] == pytest.approx([track / 3, track * 2 / 3, track], abs=0.2)


@pytest.mark.parametrize(("value", "share"), [(0.0, 0), (3.0, 1)])
def test_of_a_limit_of_nothing_nothing_is_an_empty_strip_and_anything_a_full_one(value: float, share: int) -> None:
    track, *filled = spans_of_bars(drawn(Metric.of("lost", (value,), "messages", at_most(0))))

    assert [bar.right for bar in filled] == [track.right] * share


def test_no_text_lies_on_another_nor_leaves_the_page() -> None:
    spans = spans_of_texts(drawn())

    assert all(span.left > 0 and span.right < WIDTH for span in spans)
    for one, other in itertools.combinations(spans, 2):
        apart = one.right < other.left or other.right < one.left or abs(one.y - other.y) > 11
        assert apart, (one.text, other.text)


def test_no_bar_lies_under_a_text() -> None:
    svg = drawn()

    for bar, text in itertools.product(spans_of_bars(svg), spans_of_texts(svg)):
        apart = bar.right < text.left or text.right < bar.left or not -8 < text.y - bar.y < 12
        assert apart, text.text


def test_everything_stands_above_the_lower_edge_of_the_page() -> None:
    svg = drawn()

    lowest = max(span.y for span in [*spans_of_texts(svg), *spans_of_bars(svg)])

    assert lowest < float(svg.attrib["height"]) - 20


def test_a_name_that_is_too_long_is_cut_with_three_dots_and_shown_whole_to_who_hovers_over_it() -> None:
    long = PEERS[-1].name

    cut = next(element for element in drawn().iter(f"{SVG}text") if element.findtext(f"{SVG}title") == long)

    assert cut.text
    assert cut.text.endswith("...")
    assert long.startswith(cut.text.removesuffix("..."))


def test_a_text_that_fits_is_not_shortened_and_one_that_is_fits() -> None:
    text = "a queue of some name"

    assert shorten(text, room_for(text)) == text
    assert room_for(shorten(text, 60)) <= 60


def test_a_text_is_broken_between_its_words_and_none_is_lost() -> None:
    text = "send to the line in hand of a subscriber on the socket"

    lines = wrap(text, 120)

    assert " ".join(lines) == text
    assert len(lines) > 1
    assert all(room_for(line) <= 120 for line in lines)


@pytest.mark.parametrize("metrics", [{}, {"memory": [Metric.of("memory of a client", (16.0,), "MiB")]}])
def test_a_report_without_comparisons_has_its_head_and_says_so(metrics: dict[str, list[Metric]]) -> None:
    svg = ET.fromstring(plot.draw(REPORT._replace(metrics=metrics)))

    assert len(texts(svg)) == 3
    assert "Nothing in this run was compared" in texts(svg)[-1]


def test_sides_that_have_found_nothing_at_all_are_drawn_without_a_bar() -> None:
    nothing = Metric.of("lost", (0.0,), "messages", sides=(Side("raven", "messages", (0.0, 0.0)),))

    svg = drawn(nothing)

    assert "raven" in texts(svg)
    assert spans_of_bars(svg) == []


def test_a_report_that_was_read_again_gives_the_same_plot() -> None:
    assert plot.draw(Report.load(REPORT.dump())) == plot.draw(REPORT)
