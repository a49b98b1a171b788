"""Mutation: random new inputs from old ones, for a system without coverage guidance."""

from __future__ import annotations

import random
from collections.abc import Sequence

_LONGEST = 6000


class Mutation:
    """Makes inputs from a corpus and words, with a random number generator."""

    def __init__(self, rng: random.Random, corpus: Sequence[bytes], words: Sequence[bytes]) -> None:
        self._rng = rng
        self._corpus = corpus
        self._words = words

    def next(self) -> bytes:
        """Return another input."""
        data = bytearray(self._rng.choice(self._corpus))
        for _ in range(self._rng.choice((0, 1, 1, 2, 3, 5, 8, 20))):
            self._rng.choice((self._flip, self._insert, self._remove, self._repeat, self._splice, self._swap))(data)
        return bytes(data[:_LONGEST])

    def _flip(self, data: bytearray) -> None:
        if data:
            data[self._rng.randrange(len(data))] = self._rng.randrange(256)

    def _insert(self, data: bytearray) -> None:
        position = self._rng.randint(0, len(data))
        data[position:position] = self._rng.choice(self._words)

    def _remove(self, data: bytearray) -> None:
        start, end = self._span(data)
        del data[start:end]

    def _repeat(self, data: bytearray) -> None:
        start, end = self._span(data)
        data[start:start] = data[start:end] * self._rng.choice((1, 2, 50))
        del data[4 * _LONGEST :]

    def _splice(self, data: bytearray) -> None:
        start, _ = self._span(data)
        other = self._rng.choice(self._corpus)
        data[start:] = other[self._rng.randint(0, len(other)) :]

    def _swap(self, data: bytearray) -> None:
        """Replace the bytes between two marks by a word."""
        marks = [position for position, byte in enumerate(data) if byte in b',:[]{}"']
        if len(marks) > 1:
            position = self._rng.randrange(len(marks) - 1)
            data[marks[position] + 1 : marks[position + 1]] = self._rng.choice(self._words)

    def _span(self, data: bytearray) -> tuple[int, int]:
        start = self._rng.randint(0, len(data))
        return start, min(len(data), start + self._rng.choice((1, 2, 5, 20, 200)))
