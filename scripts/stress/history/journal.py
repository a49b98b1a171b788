"""Journal: the events of one process, one JSON line each, which survive the kill -9 of that process.

| type | fields | written |
|---|---|---|
| `consuming` | address, mode, transport, prefetch, at_risk, at_risk_in_server, lease_s | before a loop that receives |
| `asking` | | before a request for the next message or messages |
| `received` | id, token, digest, attempts, lease, urgency | after a message was received |
| `acking`, `nacking` | call, id, lease | before the call; then `acked`, `nacked` or `refused` with the same call |
| `leaving` | | before the process leaves the loop |
| `sending` | call, messages (token, to, urgency, digest, max_attempts), key | then `sent` with ids, or `refused` |
| `keyed`, `kept` | message; key | before a send with a dedup_key, and after it; the next process repeats the others |
| `refused` | call, error | after an error that guarantees that the call had no effect |
| `looked` | count, highest | after another SQLite has read the bus |
| `stopped` | error | after an error has ended a loop, which then starts again |
| `dying` | of, place | just before the process kills itself |
| `failed` | error | after an unexpected error, which ends the process |

If neither event follows a call, its effect is unknown: the process was killed in the call, or lost the connection.
The parent process writes `began` and `ended` (process, code) for each process. A trial may run several of these
processes as threads of one operating system process.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

_SUFFIX = ".jsonl"


class Event(NamedTuple):
    """One event of a process; `at` is monotonic time and `wall` calendar time, both in seconds."""

    at: float
    wall: float
    process: str
    type: str
    fields: dict[str, Any]


class Journal:
    """The file of one process's events. A single write(2) appends each, so that it survives the process."""

    def __init__(self, folder: Path, process: str) -> None:
        folder.mkdir(exist_ok=True)
        self.process = process
        self._file = os.open(
            folder / f"{process}{_SUFFIX}", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, mode=0o600
        )

    def write(self, type: str, **fields: Any) -> None:
        """Append an event with the current time."""
        line = json.dumps([time.monotonic(), time.time(), type, fields], separators=(",", ":"))
        os.write(self._file, line.encode() + b"\n")

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def read(folder: Path, processes: str = "*") -> Iterator[Event]:
    """Yield the events of the processes that match a pattern: by process name, then in the order of writing.

    An incomplete last line is skipped: its process was killed while it wrote it. Raises ValueError for any other line
    that is not an event.
    """
    for path in sorted(folder.glob(f"{processes}{_SUFFIX}")):
        *lines, _ = path.read_bytes().split(b"\n")
        for line in lines:
            at, wall, type, fields = json.loads(line)
            yield Event(at, wall, path.name.removesuffix(_SUFFIX), type, fields)


def digest(body: Any) -> str:
    """Return a digest of a body's JSON value; it does not depend on how the JSON text was written."""
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return sha256(text.encode()).hexdigest()[:16]


def token_of(body: Any) -> str:
    """Return the token in a body, or the beginning of the body if it is not an object."""
    return str(body.get("token")) if isinstance(body, dict) else repr(body)[:80]
