"""Canvas: a self-contained SVG that grows downwards, for light and dark pages alike."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence

WIDTH, EDGE = 860, 28
INK, QUIET = "#1f2328", "#59636e"
_FONT = "-apple-system, 'Segoe UI', 'Helvetica Neue', Arial, 'Liberation Sans', sans-serif"
# The width of letters in a wide font (DejaVu Sans), as a share of the font size: an estimate without a text renderer.
_WIDTHS = {**dict.fromkeys("ijlft.,:;|!'()[] -/", 0.37), **dict.fromkeys("rcsz", 0.52), **dict.fromkeys("mwMW%@", 0.95)}


class Canvas:
    """A white page; each element is drawn on the current line, whose middle is at height `y`."""

    def __init__(self, title: str) -> None:
        self.y = 0.0
        self._svg = ET.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "role": "img", "font-family": _FONT})
        self._svg.text = "\n"
        self._add("title").text = title
        self._page = self._add("rect", rx=8, fill="#ffffff", stroke="#d0d7de")

    def text(
        self,
        x: float,
        text: str,
        *,
        size: float = 12,
        fill: str = INK,
        bold: bool = False,
        end: bool = False,
        room: float = WIDTH,
    ) -> None:
        """Write a text that begins (with `end`: ends) at x; cut to `room`, with the full text as its tooltip."""
        shown = shorten(text, room, size, bold=bold)
        element = self._add("text", x=x, y=self.y + 0.36 * size, font_size=size, fill=fill)
        element.text = shown
        if bold:
            element.set("font-weight", "600")
        if end:
            element.set("text-anchor", "end")
        if shown != text:
            ET.SubElement(element, "title").text = text

    def paragraph(self, x: float, text: str, room: float, *, size: float = 12, bold: bool = False) -> None:
        """Write a text in as many lines as it needs; the last of them becomes the current line."""
        first, *others = wrap(text, room, size, bold=bold)
        self.text(x, first, size=size, bold=bold)
        for line in others:
            self.y += 1.3 * size
            self.text(x, line, size=size, bold=bold)

    def bar(self, x: float, width: float, fill: str, height: float) -> None:
        """Draw a bar that begins at x; any width above 0 is visible."""
        if width > 0:
            self._add("rect", x=x, y=self.y - height / 2, width=max(width, 1.5), height=height, fill=fill)

    def line(self, x: float, x2: float, *, stroke: str = INK, width: float = 1.3) -> None:
        """Draw a line from x to x2."""
        self._add("line", x1=x, y1=self.y, x2=x2, y2=self.y, stroke=stroke, stroke_width=width)

    def tick(self, x: float, height: float, *, stroke: str = INK, width: float = 1.3) -> None:
        """Draw a vertical line across the current line."""
        self._add("line", x1=x, y1=self.y - height / 2, x2=x, y2=self.y + height / 2, stroke=stroke, stroke_width=width)

    def curve(self, points: Sequence[tuple[float, float]], *, stroke: str = INK, width: float = 1.5) -> None:
        """Draw a line through points; each is x and its height above the current line."""
        line = " ".join(f"{_write(x)},{_write(self.y - above)}" for x, above in points)
        self._add("polyline", points=line, fill="none", stroke=stroke, stroke_width=width, stroke_linejoin="round")

    def finish(self) -> str:
        """Return the SVG; the page ends a margin below the current line."""
        height = round(self.y + EDGE)
        size = {"viewBox": f"0 0 {WIDTH} {height}", "width": f"{WIDTH}", "height": f"{height}"}
        self._svg.attrib.update(size)
        self._page.attrib.update({"x": "0.5", "y": "0.5", "width": f"{WIDTH - 1}", "height": f"{height - 1}"})
        return ET.tostring(self._svg, encoding="unicode") + "\n"

    def _add(self, tag: str, **attributes: float | str) -> ET.Element:
        written = {name.replace("_", "-"): _write(value) for name, value in attributes.items()}
        element = ET.SubElement(self._svg, tag, written)
        element.tail = "\n"
        return element


def room_for(text: str, size: float = 12, *, bold: bool = False) -> float:
    """Return the largest width of a text, in pixels."""
    return sum(_WIDTHS.get(letter, 0.63 if letter.isascii() else 1) for letter in text) * size * (1.09 if bold else 1)


def shorten(text: str, room: float, size: float = 12, *, bold: bool = False) -> str:
    """Return a text that fits into `room`; three dots replace the cut part."""
    if room_for(text, size, bold=bold) <= room:
        return text
    while text and room_for(f"{text}...", size, bold=bold) > room:
        text = text[:-1]
    return f"{text.rstrip(' ,')}..."


def wrap(text: str, room: float, size: float = 12, *, bold: bool = False) -> list[str]:
    """Break a text between its words into lines that fit."""
    first, *words = text.split(" ")
    lines = [first]
    for word in words:
        if room_for(f"{lines[-1]} {word}", size, bold=bold) <= room:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _write(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.1f}".removesuffix(".0")
