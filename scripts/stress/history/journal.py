"""Journal: what one process has done, a JSON line for each step, which outlives the kill -9 of that process.

| what | told | when |
|---|---|---|
| `consuming` | address, mode, over, ahead, at_risk, at_helpers_risk, lease_s | before a loop that receives |
| `asking` | | before it asks for the next message, or for some |
| `received` | id, token, digest, attempts, lease, urgency | when a message is in its hands |
| `acking`, `nacking` | call, id, lease | before; then `acked`, `nacked` or `refused` with the same call |
| `leaving` | | before it leaves the loop |
| `sending` | call, posts (token, to, urgency, digest, max_attempts), key | before; then `sent` with ids, or `refused` |
| `keyed`, `kept` | message; key | what is sent under a key, for the next life to send again; that it was sent |
| `refused` | call, error | it raised an error after which nothing was done |
| `looked` | count, highest | another SQLite has read the bus |
| `stopped` | error | a loop ended by an error, and begins anew |
| `dying` | of, place | just before it kills itself |
| `failed` | error | it ends by an error of which nothing is known |

A call after which comes neither is not known to have been done: its process was killed in it, or lost the connection.
The process that looks after the others writes `began` and `ended` (life, code) of each; a life is one process.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

_ENDING = ".jsonl"


class Event(NamedTuple):
    """One step of one life: when, by the monotonic clock of the machine and by the calendar (seconds), and what."""

    at: float
    wall: float
    life: str
    what: str
    told: dict[str, Any]


class Journal:
    """The events of one life, each appended by a single write(2), so that it outlives its process."""

    def __init__(self, folder: Path, life: str) -> None:
        folder.mkdir(exist_ok=True)
        self.life = life
        self._file = os.open(
            folder / f"{life}{_ENDING}", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, mode=0o600
        )

    def write(self, what: str, **told: Any) -> None:
        """Append an event that happens now."""
        line = json.dumps([time.monotonic(), time.time(), what, told], separators=(",", ":"))
        os.write(self._file, line.encode() + b"\n")

    def close(self) -> None:
        """Write no more."""
        os.close(self._file)


def read(folder: Path, lives: str = "*") -> Iterator[Event]:
    """Yield the events of some lives (a pattern), life by life in the order of their names, each in its order.

    A last line that is only half there is passed over: its process was killed while it wrote it. Raises ValueError for
    any other line that is no event.
    """
    for path in sorted(folder.glob(f"{lives}{_ENDING}")):
        *lines, _ = path.read_bytes().split(b"\n")
        for line in lines:
            at, wall, what, told = json.loads(line)
            yield Event(at, wall, path.name.removesuffix(_ENDING), what, told)


def digest(body: Any) -> str:
    """Return what tells one body from another: of the same JSON value it is the same, however that was written."""
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return sha256(text.encode()).hexdigest()[:16]


def token_of(body: Any) -> str:
    """Return by what a body is known; of one that no trial has made up, how it begins."""
    return str(body.get("token")) if isinstance(body, dict) else repr(body)[:80]
