"""Roster: every peer by its name, and which of them can be had here."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from scripts.benchmarks.peers.peer import Peer
from scripts.benchmarks.send import BODY

PEERS = {
    "litequeue": "litequeue.LiteQueuePeer",
    "persist-queue": "persist_queue.PersistQueuePeer",
    "huey": "huey.HueyPeer",
    "Redis streams": "redis_streams.RedisPeer",
    "NATS JetStream": "jetstream.JetStreamPeer",
    "honker": "honker.HonkerPeer",
}


@contextmanager
def opened(folder: Path) -> Iterator[tuple[dict[str, Peer], list[str]]]:
    """Open every peer that can be had here; yields them by name, and why the others cannot."""
    peers: dict[str, Peer] = {}
    missing = []
    with ExitStack() as stack:
        for name in PEERS:
            own = folder / name.replace(" ", "-")
            own.mkdir()
            try:
                peer = kind_of(name)(own)
                stack.callback(peer.close)
                if peer.trip() != BODY:
                    raise ValueError("another body came out than went in")
            except ModuleNotFoundError:
                missing.append(f"{name} (not installed)")
            except Exception as error:  # whatever a peer of another version does, the others are measured
                missing.append(f"{name} ({' '.join(str(error).split())})")
            else:
                peers[name] = peer
        yield peers, missing


def kind_of(name: str) -> type[Peer]:
    """Return the class of a peer; raises ModuleNotFoundError where it is not installed."""
    module, _, kind = PEERS[name].partition(".")
    found: type[Peer] = getattr(importlib.import_module(f"scripts.benchmarks.peers.{module}"), kind)
    return found
