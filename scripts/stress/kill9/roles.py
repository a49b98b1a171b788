"""Cast: who takes part in a storm, life after life."""

from __future__ import annotations

from typing import NamedTuple

from scripts.harness.program import Program


class Role(NamedTuple):
    """Which program plays it, as what, of what kind it is in the table, and by which steps it may die."""

    program: str
    role: str
    kind: str
    deaths: tuple[str, ...]


_BOTH = ("io", "line")
CAST = {
    "server": Role("server", "", "servers", _BOTH),
    "subscribe": Role("consumer", "subscribe", "consumers", _BOTH),
    "listen": Role("consumer", "listen", "consumers", _BOTH),
    "solo": Role("consumer", "solo", "consumers", _BOTH),
    "claim": Role("consumer", "claim", "consumers", _BOTH),
    "manual": Role("consumer", "manual", "consumers", _BOTH),
    "ledger1": Role("consumer", "ledger-claim", "consumers", _BOTH),
    "ledger2": Role("consumer", "ledger-listen", "consumers", _BOTH),
    "audit": Role("consumer", "audit", "socket clients", ("line",)),
    "wire": Role("consumer", "wire", "socket clients", ("line",)),
    "raw": Role("raw", "", "socket clients", ()),
    "producer1": Role("producer", "file", "producers", _BOTH),
    "producer2": Role("producer", "file", "producers", _BOTH),
    "producer3": Role("producer", "socket", "socket clients", ("line",)),
    "foreign": Role("foreign", "", "external writers", ()),
}
SENDS_ONLY = ("producer1", "producer2", "producer3", "foreign")


class Life:
    """One process of one actor, and when it is to be killed from outside if it lives until then."""

    def __init__(self, actor: str, name: str, program: Program, killed_at: float) -> None:
        self.actor = actor
        self.name = name
        self.program = program
        self.killed_at = killed_at
