"""Framing: cuts received bytes into lines."""

from __future__ import annotations

from collections.abc import Iterator


class Lines:
    """Holds an incomplete line; a line over the limit is skipped, and yielded as None."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._partial = bytearray()
        self._is_skipping = False  # until the end of a line over the limit

    @property
    def size(self) -> int:
        """How many bytes of an incomplete line it holds."""
        return len(self._partial)

    def cut(self, data: bytes) -> Iterator[bytes | None]:
        """Yield the lines that this data completes, without their newlines; blank lines are skipped."""
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
        """Return and drop the bytes after the last newline; empty if they are blank."""
        rest = bytes(self._partial) if self._partial.strip() else b""
        self._partial.clear()
        return rest
