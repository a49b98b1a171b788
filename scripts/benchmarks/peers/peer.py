"""Peer: what every queue that raven is compared with can do here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class PeerMissingError(Exception):
    """A peer that cannot be had here, and why."""


class Peer(Protocol):
    """One queue in a folder of its own, with a producer and a consumer in this process.

    `name` has the version, `steps` is what the peer calls send + claim + ack; `note` says where its promises differ
    from raven's.
    """

    name: str
    steps: str
    note: str

    def __init__(self, folder: Path) -> None: ...

    def trip(self) -> Any:
        """Put a body in, take it out and finish it; return what the consumer got. JSON work is included."""

    def close(self) -> None:
        """Close the queue, and end what was started for it."""
