"""Peers: other queues to compare with raven, each in its own module; `opened` yields the installed ones."""

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
    """Open every installed peer; yields the peers by name, and the missing ones with the reason."""
    peers: dict[str, Peer] = {}
    missing = []
    with ExitStack() as stack:
        for name in PEERS:
            own_folder = folder / name.replace(" ", "-")
            own_folder.mkdir()
            try:
                peer = kind_of(name)(own_folder)
                stack.callback(peer.close)
                if peer.round_trip() != BODY:
                    raise ValueError("the body has changed")
            except ModuleNotFoundError:
                missing.append(f"{name} (not installed)")
            except Exception as error:  # an incompatible version of one peer must not stop the others
                missing.append(f"{name} ({' '.join(str(error).split())})")
            else:
                peers[name] = peer
        yield peers, missing


def kind_of(name: str) -> type[Peer]:
    """Return the class of a peer; raises ModuleNotFoundError if it is not installed."""
    module, _, kind = PEERS[name].partition(".")
    peer_type: type[Peer] = getattr(importlib.import_module(f"scripts.benchmarks.peers.{module}"), kind)
    return peer_type
