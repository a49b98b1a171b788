"""Lines: what comes in piece by piece, cut at its newlines."""

from __future__ import annotations

from collections.abc import Iterator


class Lines:
    """Holds the line that is not whole yet; one that is over the limit is passed over, and shows as None."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._partial = bytearray()
        self._is_skipping = False  # what is left of a line that was too long

    def cut(self, data: bytes) -> Iterator[bytes | None]:
        """Yield the lines that are whole with this, without their newlines and without those that are blank."""
        *ends, rest = data.split(b"\n")
        for end in ends:
            if self._is_skipping:
                self._is_skipping = False
                continue
            line = bytes(self._partial) + end if self._partial else end
            self._partial.clear()
            if len(line) > self._limit:
                yield None
            elif line.strip():
                yield line
        if not self._is_skipping:
            self._partial += rest
            if len(self._partial) > self._limit:
                self._is_skipping = True
                self._partial.clear()
                yield None

    def rest(self) -> bytes:
        """Return what came after the last newline, and hold it no more; empty where that is blank."""
        rest = bytes(self._partial) if self._partial.strip() else b""
        self._partial.clear()
        return rest
