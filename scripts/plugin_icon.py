"""Draw the icon of the plugin for Claude Code, with the standard library alone: `python -m scripts.plugin_icon`."""

from __future__ import annotations

import math
import struct
import zlib
from pathlib import Path

SIZE = 512
SAMPLES = 3
PATH = Path(__file__).parents[1] / "rpc/raven_mcp/integrations/claude-code/raven/.claude-plugin/icon.png"
SKY, BIRD, EYE, NOTHING = (242, 179, 61, 255), (24, 26, 33, 255), (250, 250, 245, 255), (0, 0, 0, 0)
BEAK = ((318, 168), (318, 272), (474, 236))
CORNER = 96


def colour_at(x: float, y: float) -> tuple[int, int, int, int]:
    """Return the colour of a point: an eye on a bird on a square with round corners."""
    if math.hypot(x - 268, y - 190) < 20:
        return EYE
    if is_bird(x, y):
        return BIRD
    inner_x, inner_y = (min(max(value, CORNER), SIZE - CORNER) for value in (x, y))
    return SKY if math.hypot(x - inner_x, y - inner_y) <= CORNER else NOTHING


def is_bird(x: float, y: float) -> bool:
    """Whether a point is on the head, the beak, or the shoulders that end with the square."""
    is_head = math.hypot(x - 244, y - 214) < 118
    is_shoulder = math.hypot((x - 196) / 150, (y - 440) / 190) < 1 and y < SIZE - 1
    return is_head or is_shoulder or is_inside(BEAK, x, y)


def is_inside(corners: tuple[tuple[int, int], ...], x: float, y: float) -> bool:
    """Whether a point is inside of a convex shape whose corners go round in one sense."""
    turns = [
        (next_x - this_x) * (y - this_y) - (next_y - this_y) * (x - this_x)
        for (this_x, this_y), (next_x, next_y) in zip(corners, (*corners[1:], corners[0]), strict=True)
    ]
    return all(turn >= 0 for turn in turns) or all(turn <= 0 for turn in turns)


def pixel(column: int, row: int) -> bytes:
    """Return the mean colour of a pixel's points; a transparent point lends no colour."""
    offsets = [(index + 0.5) / SAMPLES for index in range(SAMPLES)]
    points = [colour_at(column + right, row + down) for right in offsets for down in offsets]
    alpha = sum(point[3] for point in points)
    mean = [sum(point[channel] * point[3] for point in points) // max(alpha, 1) for channel in range(3)]
    return bytes([*mean, alpha // len(points)])


def chunk(name: bytes, data: bytes) -> bytes:
    """Return one chunk of a PNG file."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def main() -> None:
    """Write the icon."""
    rows = b"".join(b"\0" + b"".join(pixel(column, row) for column in range(SIZE)) for row in range(SIZE))
    header = struct.pack(">2I5B", SIZE, SIZE, 8, 6, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows, 9)), chunk(b"IEND", b""))
    PATH.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


if __name__ == "__main__":
    main()
