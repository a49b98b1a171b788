"""Cast: who takes part in a storm, life after life."""

from __future__ import annotations

from typing import NamedTuple

from scripts.program import Program


class Role(NamedTuple):
    """Which program plays it, as what, of what kind it is in the table, and by which steps it may die."""

    program: str
    role: str
    kind: str
    deaths: tuple[str, ...]


_BOTH = ("io", "line")
CAST = {
    "helper": Role("storm_helper", "", "helpers", _BOTH),
    "subscribe": Role("storm_consumer", "subscribe", "consumers", _BOTH),
    "listen": Role("storm_consumer", "listen", "consumers", _BOTH),
    "solo": Role("storm_consumer", "solo", "consumers", _BOTH),
    "claim": Role("storm_consumer", "claim", "consumers", _BOTH),
    "manual": Role("storm_consumer", "manual", "consumers", _BOTH),
    "ledger1": Role("storm_consumer", "ledger-claim", "consumers", _BOTH),
    "ledger2": Role("storm_consumer", "ledger-listen", "consumers", _BOTH),
    "audit": Role("storm_consumer", "audit", "clients of the helper", ("line",)),
    "wire": Role("storm_consumer", "wire", "clients of the helper", ("line",)),
    "raw": Role("storm_raw", "", "clients of the helper", ()),
    "producer1": Role("storm_producer", "file", "producers", _BOTH),
    "producer2": Role("storm_producer", "file", "producers", _BOTH),
    "producer3": Role("storm_producer", "socket", "clients of the helper", ("line",)),
    "foreign": Role("storm_foreign", "", "foreign writers", ()),
}
SENDS_ONLY = ("producer1", "producer2", "producer3", "foreign")


class Life:
    """One process of one actor, and when it is to be killed from outside if it lives until then."""

    def __init__(self, actor: str, name: str, program: Program, killed_at: float) -> None:
        self.actor = actor
        self.name = name
        self.program = program
        self.killed_at = killed_at
