"""Plot of a soak: memory, descriptors, file sizes and messages per second over its time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

from scripts.canvas import EDGE, INK, QUIET, WIDTH, Canvas
from scripts.stress.soak.samples import Sample

_LEFT, _RIGHT = EDGE + 44, WIDTH - EDGE - 150
_HEIGHT = 110
_COLOURS = ("#0969da", "#bc4c00", "#1a7f37", "#8250df", "#cf222e", "#57606a", "#9a6700", "#0a7ea4", "#bf3989")


def draw(samples: Sequence[Sample]) -> str:
    """Return the SVG: memory, descriptors, the sizes of the files and the messages per second over the time."""
    last = samples[-1]
    canvas = Canvas("raven: a soak")
    canvas.y = EDGE + 4
    length = f"{last.at_s / 60:.0f} minutes" if last.at_s > 100 else f"{last.at_s:.0f} seconds"
    canvas.text(
        EDGE,
        f"{length}: {last.messages:,} messages, {last.restarts:,} restarts of other processes",
        size=15,
        bold=True,
    )
    names = list(last.memory_mib)
    _panel(canvas, "memory, MiB", samples, {name: lambda one, name=name: one.memory_mib[name] for name in names})  # type: ignore[misc]
    _panel(canvas, "descriptors", samples, {name: lambda one, name=name: one.descriptors[name] for name in names})  # type: ignore[misc]
    _panel(canvas, "files, MiB", samples, {"database": lambda one: one.file_mib, "WAL": lambda one: one.wal_mib})
    rates = dict(zip((sample.at_s for sample in samples), _rates(samples), strict=True))
    _panel(canvas, "messages per second", samples, {"messages": lambda one: rates[one.at_s]})
    canvas.y += 30
    canvas.text(_LEFT, "0", size=11, fill=QUIET)
    canvas.text(_RIGHT, length, size=11, fill=QUIET, end=True)
    return canvas.finish()


def _panel(canvas: Canvas, title: str, samples: Sequence[Sample], values: dict[str, Callable[[Sample], float]]) -> None:
    canvas.y += 34
    canvas.text(EDGE, title, size=12, bold=True)
    canvas.y += 12 + _HEIGHT
    top = max(value(sample) for value in values.values() for sample in samples) * 1.08 or 1.0
    end = samples[-1].at_s or 1.0
    canvas.line(_LEFT, _RIGHT, stroke=QUIET, width=1)
    for part in (0.0, 0.5, 1.0):
        canvas.y -= part * _HEIGHT
        canvas.text(_LEFT - 6, f"{top * part:,.0f}", size=10, fill=QUIET, end=True)
        canvas.y += part * _HEIGHT
    ends = {}
    for (name, value), colour in zip(values.items(), _COLOURS, strict=False):
        points = [(_LEFT + (_RIGHT - _LEFT) * one.at_s / end, _HEIGHT * value(one) / top) for one in samples]
        canvas.curve(points, stroke=colour)
        ends[name] = (points[-1][1], colour, value(samples[-1]))
    _label(canvas, ends)


def _label(canvas: Canvas, ends: dict[str, tuple[float, str, float]]) -> None:
    """Write each name beside the end of its curve, without overlaps."""
    bottom = canvas.y
    heights = _spread(sorted(((above, name) for name, (above, _, _) in ends.items()), reverse=True))
    for name, above in heights.items():
        _, colour, value = ends[name]
        canvas.y = bottom - above
        canvas.bar(_RIGHT + 8, 8, colour, 3)
        canvas.text(_RIGHT + 22, f"{name} {value:,.1f}".removesuffix(".0"), size=10, fill=INK)
    canvas.y = bottom


def _spread(ends: Iterable[tuple[float, str]]) -> dict[str, float]:
    """Return the height of each label: at the end of its curve, or below the label above it."""
    heights: dict[str, float] = {}
    highest = float(_HEIGHT)
    for above, name in ends:
        heights[name] = min(above, highest)
        highest = heights[name] - 12
    return heights


def _rates(samples: Sequence[Sample]) -> list[float]:
    """Return the messages per second between neighbouring samples; the first sample repeats the second."""
    rates = [
        (after.messages - before.messages) / max(after.at_s - before.at_s, 0.1) for before, after in pairwise(samples)
    ]
    return [*(rates[:1] or [0.0]), *rates]
