"""Hostile: a client of a bound socket that attacks at random until its time is over; a process of its own.

usage: python -m scripts.stress.sandbox.hostile SOCKET SEED SECONDS
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from scripts.harness.line import Line, connect, request

_NOTE = {"to": "*:q", "type": "t"}
Attack = Callable[[str, random.Random], None]


def broadcasts(path: str, chance: random.Random) -> None:
    """Send many broadcasts in one line, and hang up."""
    _write(path, request("send_many", {"messages": [_NOTE] * chance.choice([10, 1000, 60_000])}, 1))


def many_addresses(path: str, chance: random.Random) -> None:
    """Send to many addresses that no process uses."""
    first = chance.randrange(1 << 40)
    _write(path, request("send", {"to": [f"{first + number}:j" for number in range(10_000)], "type": "t"}, 1))


def long_bodies(path: str, chance: random.Random) -> None:
    """Send long bodies: a text, many values, or far too many values."""
    bodies: list[Any] = ["x" * 4_000_000, [1.5] * 100_000, [{}] * 600_000]
    _write(path, request("send", {"to": "w:s", "type": "t", "body": chance.choice(bodies)}, 1) * chance.randint(1, 3))


def unfinished_line(path: str, chance: random.Random) -> None:
    """Send most of a long line, and keep the connection for a moment."""
    _write(path, request("send", {"to": "w:s", "type": "t", "body": "x" * 4_000_000}, 1)[:-100], pause_s=0.5)


def unread_pages(path: str, chance: random.Random) -> None:
    """Ask for many pages, and read none."""
    _write(path, request("inbox", {"max": 1000, "peek": True}, 1) * chance.randint(1, 100), pause_s=0.5)


def tails(path: str, chance: random.Random) -> None:
    """Read the log of others many times at once."""
    _write(path, request("tail", {"from_id": 1, "follow": chance.random() < 0.5}, 1) * 100, pause_s=0.2)


def flood(path: str, chance: random.Random) -> None:
    """Send many small requests without a pause."""
    _write(path, request(chance.choice(["ping", "last_id", "peers"]), {}, 1) * 3000)


ATTACKS: list[Attack] = [broadcasts, many_addresses, long_bodies, unfinished_line, unread_pages, tails, flood]


def _write(path: str, data: bytes, pause_s: float = 0.0) -> None:
    """Write to a new connection, for two seconds at most, and close it without reading."""
    with suppress(OSError), connect(path) as connection:
        connection.settimeout(2.0)
        connection.sendall(data)
        time.sleep(pause_s)


def main() -> None:
    """Attack, and print how often each attack ran."""
    path, seed, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    chance, end, counts = random.Random(seed), time.monotonic() + seconds, Counter[str]()
    with Line(path) as line:
        line.ask("ping")
    while time.monotonic() < end:
        # Each once at first, then at random.
        attack = ATTACKS[counts.total()] if counts.total() < len(ATTACKS) else chance.choice(ATTACKS)
        attack(path, chance)
        counts[attack.__name__.replace("_", " ")] += 1
    print(json.dumps(counts), flush=True)


if __name__ == "__main__":
    main()
