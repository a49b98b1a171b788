"""Bag: what is under way between the hosts; it loses, repeats and reorders."""

from __future__ import annotations

import json
import random
from typing import TypeVar

from raven.exchange.values import Batch, Confirmation, Incoming

_T = TypeVar("_T")
_REPEATS = 0.15


class Bag:
    """The envelopes and the confirmations under way for each pair of hosts, the sender's name first."""

    def __init__(self, chance: random.Random, loss: float) -> None:
        self.loss = loss
        self.repeats = _REPEATS
        self.lost = self.repeated = 0
        self._chance = chance
        self._envelopes: dict[tuple[str, str], list[str]] = {}
        self._words: dict[tuple[str, str], list[Confirmation]] = {}

    def put(self, sender: str, receiver: str, batch: Batch) -> None:
        """Put an envelope in, as the text that goes over the wire."""
        values = [batch.epoch, batch.tag_before, [json.loads(frame.text) for frame in batch.frames]]
        self._envelopes.setdefault((sender, receiver), []).append(json.dumps(values))

    def say(self, speaker: str, listener: str, word: Confirmation) -> None:
        """Put a confirmation in."""
        self._words.setdefault((speaker, listener), []).append(word)

    def take(self, sender: str, receiver: str, at_most: int) -> list[Incoming]:
        """Take some envelopes out, in any order."""
        return [Incoming(*json.loads(text)) for text in self._some(self._envelopes, (sender, receiver), at_most)]

    def hear(self, speaker: str, listener: str, at_most: int) -> list[Confirmation]:
        """Take some confirmations out, in any order."""
        return self._some(self._words, (speaker, listener), at_most)

    def _some(self, things: dict[tuple[str, str], list[_T]], pair: tuple[str, str], at_most: int) -> list[_T]:
        left = things.get(pair, [])
        taken = []
        for _ in range(min(at_most, len(left))):
            at = self._chance.randrange(len(left)) if self.loss else 0
            thing = left[at]
            if self.loss and self._chance.random() < self.repeats:
                self.repeated += 1
            else:
                del left[at]
                if self._chance.random() < self.loss:
                    self.lost += 1
                    continue
            taken.append(thing)
        return taken
