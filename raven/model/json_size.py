"""The size of JSON texts: how many values one holds, which tells the memory that a parse takes, before it is parsed."""

from __future__ import annotations

# A text with more strings holds too many values in any case; they are not told from the other values.
_MAX_COUNTED = 1_000_000
_PIECE = 64 * 1024


def count_values(text: bytes) -> int:
    """Return about how many JSON values a JSON text holds, keys included and strings as one, without a parse."""
    bare = text.replace(rb"\\", b"").replace(rb"\"", b"") if b"\\" in text else text
    strings = bare.count(b'"') // 2
    if strings > _MAX_COUNTED:
        return strings
    others = is_inside = 0
    for start in range(0, len(bare), _PIECE):  # few parts exist at a time, and other threads run in between
        more, is_inside = _count_others(bare[start : start + _PIECE], is_inside)
        others += more
    return strings + others


def count_in(piece: bytes, is_inside: int) -> tuple[int, int]:
    """Count as `count_values` does in a piece that cuts no escape; takes and returns whether a string is cut.

    `is_inside` is 1 if the piece begins inside a string, else 0; the second result is the same for its end.
    """
    bare = piece.replace(rb"\\", b"").replace(rb"\"", b"") if b"\\" in piece else piece
    others, ends_inside = _count_others(bare, is_inside)
    return (bare.count(b'"') + ends_inside) // 2 + others, ends_inside


def _count_others(bare: bytes, is_inside: int) -> tuple[int, int]:
    """Count the values of a piece without escapes that are no strings; takes and returns the same as `count_in`."""
    parts = bare.split(b'"')
    outside = b"".join(parts[is_inside::2])
    return outside.count(b",") + outside.count(b"[") + outside.count(b"{"), (is_inside + len(parts) - 1) % 2
