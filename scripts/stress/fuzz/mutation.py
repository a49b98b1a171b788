"""Mutation: new inputs made of old ones by chance, for where nothing tells which code an input has reached."""

from __future__ import annotations

import random
from collections.abc import Sequence

_LONGEST = 6000


class Mutation:
    """Makes inputs out of a corpus and of words, as a source of chance will have it."""

    def __init__(self, chance: random.Random, corpus: Sequence[bytes], words: Sequence[bytes]) -> None:
        self._chance = chance
        self._corpus = corpus
        self._words = words

    def next(self) -> bytes:
        """Return one more input."""
        data = bytearray(self._chance.choice(self._corpus))
        for _ in range(self._chance.choice((0, 1, 1, 2, 3, 5, 8, 20))):
            self._chance.choice((self._flip, self._insert, self._remove, self._repeat, self._splice, self._swap))(data)
        return bytes(data[:_LONGEST])

    def _flip(self, data: bytearray) -> None:
        if data:
            data[self._chance.randrange(len(data))] = self._chance.randrange(256)

    def _insert(self, data: bytearray) -> None:
        place = self._chance.randint(0, len(data))
        data[place:place] = self._chance.choice(self._words)

    def _remove(self, data: bytearray) -> None:
        start, end = self._span(data)
        del data[start:end]

    def _repeat(self, data: bytearray) -> None:
        start, end = self._span(data)
        data[start:start] = data[start:end] * self._chance.choice((1, 2, 50))
        del data[4 * _LONGEST :]

    def _splice(self, data: bytearray) -> None:
        start, _ = self._span(data)
        other = self._chance.choice(self._corpus)
        data[start:] = other[self._chance.randint(0, len(other)) :]

    def _swap(self, data: bytearray) -> None:
        """Put a word in the place of what stands between two marks."""
        marks = [place for place, byte in enumerate(data) if byte in b',:[]{}"']
        if len(marks) > 1:
            place = self._chance.randrange(len(marks) - 1)
            data[marks[place] + 1 : marks[place + 1]] = self._chance.choice(self._words)

    def _span(self, data: bytearray) -> tuple[int, int]:
        start = self._chance.randint(0, len(data))
        return start, min(len(data), start + self._chance.choice((1, 2, 5, 20, 200)))
