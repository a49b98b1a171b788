"""Peer: the operations of a queue to compare with raven."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class PeerMissingError(Exception):
    """A peer is not available; the text has the reason."""


class Peer(Protocol):
    """One queue in a folder of its own, with a producer and a consumer in this process.

    `name` has the version, `steps` has the peer's names for send + claim + ack, and `note` has the differences between
    its guarantees and raven's.
    """

    name: str
    steps: str
    note: str

    def __init__(self, folder: Path) -> None: ...

    def round_trip(self) -> Any:
        """Send a body, receive it and finish it; returns the received body. JSON work is included."""

    def close(self) -> None:
        """Close the queue, and end its server."""
