"""Roles: the actors of the trial, each a series of processes."""

from __future__ import annotations

from typing import NamedTuple

from scripts.harness.program import Program


class Role(NamedTuple):
    """An actor's program and mode, its kind in the counts, and the steps at which it may kill itself."""

    program: str
    mode: str
    kind: str
    kill_steps: tuple[str, ...]


_BOTH = ("io", "line")
ROLES = {
    "server": Role("server", "", "servers", _BOTH),
    "subscribe": Role("consumer", "subscribe", "consumers", _BOTH),
    "listen": Role("consumer", "listen", "consumers", _BOTH),
    "solo": Role("consumer", "solo", "consumers", _BOTH),
    "claim": Role("consumer", "claim", "consumers", _BOTH),
    "manual": Role("consumer", "manual", "consumers", _BOTH),
    "transaction1": Role("consumer", "transaction-claim", "consumers", _BOTH),
    "transaction2": Role("consumer", "transaction-listen", "consumers", _BOTH),
    "audit": Role("consumer", "audit", "socket clients", ("line",)),
    "python": Role("consumer", "python", "socket clients", ("line",)),
    "raw": Role("raw_client", "", "socket clients", ()),
    "producer1": Role("producer", "file", "producers", _BOTH),
    "producer2": Role("producer", "file", "producers", _BOTH),
    "producer3": Role("producer", "socket", "socket clients", ("line",)),
    "sql": Role("sql_sender", "", "external writers", ()),
}
SENDS_ONLY = ("producer1", "producer2", "producer3", "sql")


class ActorProcess:
    """One process of an actor; `kill_at` is the time at which the trial kills it."""

    def __init__(self, actor: str, name: str, program: Program, kill_at: float) -> None:
        self.actor = actor
        self.name = name
        self.program = program
        self.kill_at = kill_at
