"""Ledger: the reference model of a history, a plain dict of who was sent what, and how often it was handled.

It knows nothing of SQLite and of frames.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

# The most often that a delivery may be handled whose history excuses any number.
ANY = 1_000_000


@dataclass
class Letter:
    """One message on its way to one recipient: `least` and `most` say how often it must and may be handled."""

    token: str
    recipient: str
    sender: str
    origin: str
    number: int
    urgency: int
    content: tuple[Any, ...]
    least: int = 1
    most: int = 1
    handled: int = 0
    keeps_order: bool = True

    def excuse(self) -> None:
        """Allow any number: what became of it was lost with a file."""
        self.least, self.most = 0, ANY


@dataclass
class Hand:
    """A claim: a message that a consumer on a host has until `until` of the server's clock."""

    host: str
    address: str
    message: Any
    letter: Letter
    until: int


class Ledger:
    """All letters of a history, the claims, and the actions on each host that an older copy of its file forgets."""

    def __init__(self) -> None:
        self.letters: dict[tuple[str, str], Letter] = {}
        self.hands: list[Hand] = []
        self.first_claims: dict[tuple[str, str, str, int], list[Letter]] = {}
        self.findings: list[tuple[str, str]] = []
        self._touched: dict[str, list[tuple[Letter, str]]] = {}
        self._claimed: set[int] = set()

    def send(self, letter: Letter) -> None:
        """Note a letter that was sent; a later one with the same dedup_key is the same."""
        if self.letters.setdefault((letter.token, letter.recipient), letter) is letter:
            self.touch(letter.origin, letter, "sent")

    def touch(self, host: str, letter: Letter, what: str) -> None:
        """Note that a letter was sent, handled or otherwise changed on a host."""
        self._touched.setdefault(host, []).append((letter, what))

    def saved(self, host: str) -> None:
        """Note that a host's file was copied."""
        self._touched[host] = []

    def restored(self, host: str, *, roams: bool) -> None:
        """Allow what the older copy of a host's file may make of the letters that were changed there since."""
        for letter, what in self._touched.get(host, []):
            if what == "sent":
                letter.least = 0
            elif what == "handled":
                letter.most += 1
            else:
                letter.excuse()
        for letter in self.letters.values():
            letter.keeps_order = False
            if roams:
                letter.excuse()
        self._touched[host] = []
        self.hands = [hand for hand in self.hands if hand.host != host]

    def claim(self, hand: Hand, now: int) -> None:
        """Note a claim; two consumers must not have the same letter at a time."""
        letter = hand.letter
        if letter.most == 1:
            if letter.handled:
                self.find("duplicated", f"{_named(letter)} is handed out on {hand.host} though it was handled")
            others = [one for one in self.hands if one.letter is letter and one.until > now]
            if others:
                where = f"on {others[0].host} and {hand.host}"
                self.find("duplicated", f"{_named(letter)} is in two hands at a time, {where}")
        if id(letter) not in self._claimed:
            self._claimed.add(id(letter))
            key = (letter.origin, letter.sender, letter.recipient, letter.urgency)
            self.first_claims.setdefault(key, []).append(letter)
        self.hands.append(hand)

    def handle(self, hand: Hand) -> None:
        """Note an ack."""
        hand.letter.handled += 1
        self.touch(hand.host, hand.letter, "handled")

    def find(self, kind: str, text: str) -> None:
        """Note a broken promise."""
        self.findings.append((kind, text))

    def check(self, dead: Collection[tuple[str, str]]) -> None:
        """Find the letters that were handled too seldom and are not dead, too often, or out of order."""
        for letter in self.letters.values():
            if letter.handled < letter.least and (letter.token, letter.recipient) not in dead:
                self.find("lost", f"{_named(letter)} was never handled")
            if letter.handled > letter.most:
                self.find("duplicated", f"{_named(letter)} was handled {letter.handled} times")
        for letters in self.first_claims.values():
            numbers = [letter.number for letter in letters if letter.keeps_order]
            if numbers != sorted(numbers):
                self.find("reordered", f"{_named(letters[0])} and the next came in the order {numbers}")


def _named(letter: Letter) -> str:
    return f"{letter.token} from {letter.sender} on {letter.origin} to {letter.recipient}"
