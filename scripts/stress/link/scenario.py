"""Link: three hosts under kills and failing servers; then cut cables, full disks, older files and copies.

Four rounds, of seeds that follow each other, take turns between one server and a cluster of three, of the newest and of
the oldest release, and run all cases.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from scripts.stress.link.cases import CASES
from scripts.stress.link.chaos import Chaos
from scripts.stress.link.servers import AGES, Servers, binary_of
from scripts.stress.trial import Round

_CHAOS_S, _DRAINED_WITHIN_S = 150.0, 90.0
_SETTINGS = 4


def run(round: Round) -> None:
    """Run the chaos of one setting, which the seed decides, and then every fourth case."""
    chaos(round)
    for case in list(CASES.values())[round.seed % _SETTINGS :: _SETTINGS]:
        case(round)


def chaos(round: Round, command: Sequence[str] | None = None, drained_within_s: float = _DRAINED_WITHIN_S) -> None:
    """Kill relays, consumers, producers and servers for the time of the round, see Chaos."""
    age, is_cluster = AGES[round.seed % 2], round.seed % _SETTINGS > 1
    binary = binary_of(round, age)
    if binary is None:
        return
    round.count(f"rounds with {'a cluster' if is_cluster else 'one server'} of the {age} release")
    with ExitStack() as stack:
        servers = stack.enter_context(Servers(round, binary, is_cluster=is_cluster))
        Chaos(round, servers, stack, command, drained_within_s).run(min(round.seconds, _CHAOS_S))
