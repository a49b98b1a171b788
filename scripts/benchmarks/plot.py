"""Plot: the comparisons of a report as horizontal bars, and as strips the other figures that have a limit to keep."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scripts.benchmarks.figure import Figure, Side, percentile
from scripts.benchmarks.report import Report, amount
from scripts.canvas import EDGE, QUIET, WIDTH, Canvas, room_for

_LEFT, _RIGHT = EDGE, WIDTH - EDGE
_LINE, _HEIGHT, _GAP = 20, 12, 14
_OURS, _OTHERS, _PALE, _MET, _MISSED = "#4f6bed", "#c3c9d2", "#eceef2", "#1a7f37", "#cf222e"
# How wide columns can be at most, that of met or missed is, and strips are at least.
_NAMES, _VALUES, _STATUS, _TRACK = 240, 160, 62, 130
# A strip ends at one and a half times the limit; what is beyond is cut off there.
_END = 1.5


def draw(report: Report) -> str:
    """Return the SVG: a group of bars for each figure that has sides, and a strip for each other that has a limit."""
    figures = [figure for found in report.figures.values() for figure in found]
    compared = [figure for figure in figures if figure.sides]
    held = [figure for figure in figures if figure.bar and not figure.sides]
    canvas = Canvas(f"raven {report.raven}, measured on {report.date}")
    _draw_head(canvas, report)
    if compared:
        _draw_groups(canvas, compared)
    else:
        canvas.y += 2 * _LINE
        canvas.text(_LEFT, "Nothing in this run was compared with anything else.")
    if held:
        _draw_strips(canvas, held)
    return canvas.finish()


def _draw_head(canvas: Canvas, report: Report) -> None:
    canvas.y = 36
    canvas.text(_LEFT, "raven beside its floors and its peers", size=18, bold=True)
    canvas.y += 25
    parts = [f"raven {report.raven}", report.machine, report.date, *(["quick: rough figures"] if report.quick else [])]
    canvas.text(_LEFT, " \u00b7 ".join(parts), fill=QUIET, room=_RIGHT - _LEFT)


def _draw_groups(canvas: Canvas, figures: Sequence[Figure]) -> None:
    _draw_key(canvas)
    sides = [side for figure in figures for side in figure.sides]
    names = min(_NAMES, max(room_for(side.name, bold=True) for side in sides))
    values = min(_VALUES, max(room_for(amount(side.median, side.unit), bold=True) for side in sides))
    begin, end = _LEFT + names + _GAP, _RIGHT - values - _GAP
    for figure in figures:
        canvas.y += 36
        free = _draw_verdict(canvas, figure)
        canvas.paragraph(_LEFT, figure.what, free - _LEFT, size=13, bold=True)
        canvas.y += 3
        longest = max(max(side.median, percentile(side.values, 75)) for side in figure.sides)
        for side in figure.sides:
            canvas.y += _LINE
            is_ours = _is_ours(side, figure)
            canvas.text(begin - _GAP, side.name, bold=is_ours, end=True, room=names)
            _draw_side(canvas, side, begin, (end - begin) / (longest or 1), _OURS if is_ours else _OTHERS)
            canvas.text(_RIGHT, amount(side.median, side.unit), bold=is_ours, end=True, room=values)


def _draw_key(canvas: Canvas) -> None:
    """Say what the colours, the lines and the lengths mean."""
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


def _draw_verdict(canvas: Canvas, figure: Figure) -> float:
    """Write the value at the right end of the line, and whether it keeps its limit; return where the free room ends."""
    words, end = _verdict(figure), _RIGHT
    if figure.bar:
        status, fill = ("met", _MET) if figure.is_met else ("missed", _MISSED)
        canvas.text(_RIGHT, status, fill=fill, bold=True, end=True)
        end -= _STATUS
    canvas.text(end, words, fill=QUIET, end=True)
    return end - room_for(words) - _GAP


def _verdict(figure: Figure) -> str:
    value = amount(figure.value, figure.unit)
    return f"{value}, bar: {figure.bar.relation} {figure.bar.limit:,g}" if figure.bar else value


def _draw_strips(canvas: Canvas, figures: Sequence[Figure]) -> None:
    canvas.y += 46
    canvas.text(_LEFT, "Held against a limit alone", size=13, bold=True)
    canvas.text(_RIGHT, "the upright line is the limit; a bar that is cut goes on", size=11, fill=QUIET, end=True)
    canvas.y += 3
    end = _RIGHT - _STATUS - max(room_for(_verdict(figure)) for figure in figures) - _GAP
    names = min(end - _LEFT - _GAP - _TRACK, max(room_for(figure.what) for figure in figures))
    begin = _LEFT + names + _GAP
    for figure in figures:
        canvas.y += _LINE
        share = _share(figure)
        canvas.bar(begin, end - begin, _PALE, _HEIGHT)
        canvas.bar(begin, min(share / _END, 1) * (end - begin), _OURS, _HEIGHT)
        if share > _END:
            canvas.tick(end - 8, _HEIGHT, stroke="#ffffff", width=3)
        canvas.tick(begin + (end - begin) / _END, _HEIGHT + 4)
        _draw_verdict(canvas, figure)
        canvas.paragraph(_LEFT, figure.what, names)


def _share(figure: Figure) -> float:
    """Return the value as a share of the limit; of a limit of nothing, anything is too much."""
    limit = figure.bar.limit if figure.bar else 0
    if limit:
        return figure.value / limit
    return math.inf if figure.value else 0


def _is_ours(side: Side, figure: Figure) -> bool:
    """Whether a side is raven's: it says so, or, where none does, it is the one that is held against the others."""
    named = [one for one in figure.sides if "raven" in one.name]
    return side in named or (not named and side is figure.sides[0])
