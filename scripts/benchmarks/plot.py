"""Plot: the comparisons of a report as horizontal bars, and the other metrics with a bar as strips."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scripts.benchmarks.metric import Metric, Side, percentile
from scripts.benchmarks.report import Report, amount
from scripts.canvas import EDGE, QUIET, WIDTH, Canvas, room_for

_LEFT, _RIGHT = EDGE, WIDTH - EDGE
_LINE, _HEIGHT, _GAP = 20, 12, 14
_OURS, _OTHERS, _PALE, _MET, _MISSED = "#4f6bed", "#c3c9d2", "#eceef2", "#1a7f37", "#cf222e"
# The largest width of the columns of names and values, the width of "met", and the smallest width of a strip.
_NAMES, _VALUES, _STATUS, _TRACK = 240, 160, 62, 130
# A strip ends at one and a half times the limit; a longer bar is cut there.
_END = 1.5

# The metrics of the README's plot: three peers, of which one is faster than raven, and two floors.
_SUMMARY = (
    "send + claim + ack against litequeue's put + pop + done",
    "send + claim + ack against Redis streams' xadd + xreadgroup + xack",
    "send + claim + ack against NATS JetStream's publish + fetch + ack_sync",
    "wake of an idle subscriber, send to delivery: p50",
    "claim with 1,000,000 finished messages in the file, against an empty one",
)


def draw_summary(report: Report) -> str:
    """Return the SVG of a few comparisons, small enough for a page about other things."""
    metrics = {name: [one for one in ones if one.name in _SUMMARY] for name, ones in report.metrics.items()}
    return draw(report._replace(metrics=metrics))


def draw(report: Report) -> str:
    """Return the SVG: a group of bars for each metric with sides, and a strip for each other metric with a limit."""
    metrics = [metric for metrics in report.metrics.values() for metric in metrics]
    compared = [metric for metric in metrics if metric.sides]
    limited = [metric for metric in metrics if metric.bar and not metric.sides]
    canvas = Canvas(f"raven {report.raven}, measured on {report.date}")
    _draw_head(canvas, report)
    if compared:
        _draw_groups(canvas, compared)
    else:
        canvas.y += 2 * _LINE
        canvas.text(_LEFT, "Nothing in this run was compared with anything else.")
    if limited:
        _draw_strips(canvas, limited)
    return canvas.finish()


def _draw_head(canvas: Canvas, report: Report) -> None:
    canvas.y = 36
    canvas.text(_LEFT, "raven beside its floors and its peers", size=18, bold=True)
    canvas.y += 25
    parts = [f"raven {report.raven}", report.machine, report.date, *(["quick: rough figures"] if report.quick else [])]
    canvas.text(_LEFT, " \u00b7 ".join(parts), fill=QUIET, room=_RIGHT - _LEFT)


def _draw_groups(canvas: Canvas, metrics: Sequence[Metric]) -> None:
    _draw_key(canvas)
    sides = [side for metric in metrics for side in metric.sides]
    names = min(_NAMES, max(room_for(side.name, bold=True) for side in sides))
    values = min(_VALUES, max(room_for(amount(side.median, side.unit), bold=True) for side in sides))
    begin, end = _LEFT + names + _GAP, _RIGHT - values - _GAP
    for metric in metrics:
        canvas.y += 36
        free = _draw_verdict(canvas, metric)
        canvas.paragraph(_LEFT, metric.name, free - _LEFT, size=13, bold=True)
        canvas.y += 3
        longest = max(max(side.median, percentile(side.values, 75)) for side in metric.sides)
        for side in metric.sides:
            canvas.y += _LINE
            is_ours = _is_ours(side, metric)
            canvas.text(begin - _GAP, side.name, bold=is_ours, end=True, room=names)
            _draw_side(canvas, side, begin, (end - begin) / (longest or 1), _OURS if is_ours else _OTHERS)
            canvas.text(_RIGHT, amount(side.median, side.unit), bold=is_ours, end=True, room=values)


def _draw_key(canvas: Canvas) -> None:
    """Explain the colours, the lines and the lengths."""
    canvas.y += _LINE + 6
    x = float(_LEFT)
    for fill, words in ((_OURS, "raven"), (_OTHERS, "compared systems")):
        canvas.bar(x, 18, fill, _HEIGHT)
        canvas.text(x + 25, words, size=11, fill=QUIET)
        x += 25 + room_for(words, 11) + _GAP
    _draw_span(canvas, x, x + 18)
    canvas.text(x + 25, "middle half of the rounds", size=11, fill=QUIET)
    canvas.text(_RIGHT, "each group from 0; shorter is better, but for rates (/s)", size=11, fill=QUIET, end=True)


def _draw_side(canvas: Canvas, side: Side, begin: float, pixels: float, fill: str) -> None:
    canvas.bar(begin, side.median * pixels, fill, _HEIGHT)
    low, high = percentile(side.values, 25), percentile(side.values, 75)
    if low != high:
        _draw_span(canvas, begin + low * pixels, begin + high * pixels)


def _draw_span(canvas: Canvas, x: float, x2: float) -> None:
    canvas.line(x, x2)
    canvas.tick(x, 5)
    canvas.tick(x2, 5)


def _draw_verdict(canvas: Canvas, metric: Metric) -> float:
    """Write the value and its verdict at the right end of the line; returns the right end of the free room."""
    words, end = _verdict(metric), _RIGHT
    if metric.bar:
        status, fill = ("met", _MET) if metric.is_met else ("missed", _MISSED)
        canvas.text(_RIGHT, status, fill=fill, bold=True, end=True)
        end -= _STATUS
    canvas.text(end, words, fill=QUIET, end=True)
    return end - room_for(words) - _GAP


def _verdict(metric: Metric) -> str:
    value = amount(metric.value, metric.unit)
    return f"{value}, bar: {metric.bar.relation} {metric.bar.limit:,g}" if metric.bar else value


def _draw_strips(canvas: Canvas, metrics: Sequence[Metric]) -> None:
    canvas.y += 46
    canvas.text(_LEFT, "Held against a limit alone", size=13, bold=True)
    canvas.text(_RIGHT, "the upright line is the limit; a bar that is cut goes on", size=11, fill=QUIET, end=True)
    canvas.y += 3
    end = _RIGHT - _STATUS - max(room_for(_verdict(metric)) for metric in metrics) - _GAP
    names = min(end - _LEFT - _GAP - _TRACK, max(room_for(metric.name) for metric in metrics))
    begin = _LEFT + names + _GAP
    for metric in metrics:
        canvas.y += _LINE
        share = _share(metric)
        canvas.bar(begin, end - begin, _PALE, _HEIGHT)
        canvas.bar(begin, min(share / _END, 1) * (end - begin), _OURS, _HEIGHT)
        if share > _END:
            canvas.tick(end - 8, _HEIGHT, stroke="#ffffff", width=3)
        canvas.tick(begin + (end - begin) / _END, _HEIGHT + 4)
        _draw_verdict(canvas, metric)
        canvas.paragraph(_LEFT, metric.name, names)


def _share(metric: Metric) -> float:
    """Return the value as a share of the limit: infinite if the limit is 0 and the value is not."""
    limit = metric.bar.limit if metric.bar else 0
    if limit:
        return metric.value / limit
    return math.inf if metric.value else 0


def _is_ours(side: Side, metric: Metric) -> bool:
    """Whether a side is raven's: by its name or, if no name has raven in it, because it is the first side."""
    named = [other for other in metric.sides if "raven" in other.name]
    return side in named or (not named and side is metric.sides[0])
