"""Servers: one nats-server or a cluster of three, which the trial kills, rolls back to an older store and wipes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Self

from scripts.harness.nats_server import NATSCluster, NATSServer, binaries
from scripts.stress.trial import Round

AGES = ("newest", "oldest")
_EVERY_S, _DOWN_S = (1.0, 5.0), (0.05, 1.2)
# A copy of the store is so old when it is put back.
_COPY_AGE_S = 1.0


def binary_of(round: Round, age: str) -> str | None:
    """Return the path of a nats-server; if it is not here, count that and return None."""
    path = binaries().get(age)
    if path is None:
        round.count(f"skipped (the {age} nats-server is not here)")
    return path


class Servers:
    """The servers of a round, which end with the `with` block."""

    def __init__(self, round: Round, binary: str, *, is_cluster: bool) -> None:
        self._round = round
        self._random = round.random
        folder = round.folder / "nats"
        self._cluster = NATSCluster(folder, binary) if is_cluster else None
        self.servers = self._cluster.servers if self._cluster else [NATSServer(folder, binary)]
        self._down: NATSServer | None = None
        self._copy: Path | None = None
        self._copied_at = 0.0
        self._must_wipe = True
        self._began = time.monotonic()
        self._next_at = self._began + self._random.uniform(*_EVERY_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for server in self.servers:
            server.close()

    @property
    def urls(self) -> list[str]:
        """The URLs of all servers."""
        return [server.url for server in self.servers]

    def step(self, seconds: float) -> None:
        """Kill a server, or start the killed one, if that is due; after 60 % of `seconds` one loses its disk."""
        now = time.monotonic()
        if now < self._next_at:
            return
        if self._down is not None:
            self._start()
        else:
            self._kill(is_late=now - self._began > 0.6 * seconds)

    def heal(self) -> None:
        """Start the killed server; if none has lost its disk yet, as in a short round, one does so before."""
        if self._down is not None:
            self._start()
        if self._must_wipe:
            self._kill(is_late=True)
            self._start()

    def _kill(self, *, is_late: bool) -> None:
        self._down = self._random.choice(self.servers)
        can_roll_back = self._copy is not None and time.monotonic() - self._copied_at > _COPY_AGE_S
        self._down.kill()
        self._round.count("kills")
        self._round.count("kills of NATS servers")
        if is_late and self._must_wipe:
            self._must_wipe = False
            self._down.wipe()
            self._copy = None
            self._round.count("stores of NATS servers wiped")
        elif can_roll_back and self._copy is not None:
            self._down.roll_back(self._copy)
            self._copy = None
            self._round.count("stores of NATS servers rolled back")
        self._next_at = time.monotonic() + self._random.uniform(*_DOWN_S)

    def _start(self) -> None:
        server, self._down = self._down, None
        assert server is not None
        server.start(waits=self._cluster is None)
        # In a cluster only a whole disk may be lost: the others would take an older one for a lie.
        if self._cluster is None and self._copy is None and self._random.random() < 0.6:
            self._copy, self._copied_at = server.copy_store(), time.monotonic()
        self._next_at = time.monotonic() + self._random.uniform(*_EVERY_S)
