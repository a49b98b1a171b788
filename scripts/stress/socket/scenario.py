"""Socket: all that a client can do wrong to a server, while two control clients must not be harmed."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from scripts.harness.deadline import wait_until
from scripts.harness.served import Served
from scripts.stress.socket import (
    connect_storm,
    garbage,
    occupied_path,
    server_death,
    slow_clients,
    truncated,
    unauthorized,
)
from scripts.stress.socket.control_traffic import ControlTraffic
from scripts.stress.trial import Round

_LIMIT = 400
# The share of the time for attacks beside the control clients.
_ATTACK_SHARE = 0.45
# The allowed growth of the server's memory and descriptors by the attacks.
_MEMORY_MIB = 48.0
_DESCRIPTORS = 4  # the control reader connects again now and then
Attack = Callable[[Round, Served], None]

ATTACKS: list[Attack] = [
    garbage.random_bytes,
    garbage.random_json,
    garbage.near_requests,
    garbage.oversized_lines,
    slow_clients.slow_senders,
    slow_clients.unfinished_lines,
    partial(slow_clients.connections_to_the_limit, limit=_LIMIT),
    slow_clients.slow_readers,
    slow_clients.many_waiting_requests,
    connect_storm.connect_from_processes,
    unauthorized.through_a_bound_socket,
    unauthorized.as_another_user,
    occupied_path.occupied_paths,
    server_death.without_descriptors,
]
# Quick attacks that would leak much, if any did.
_REPEATED = (slow_clients.slow_senders, garbage.near_requests)


def run(round: Round) -> None:
    """Run each attack once, then random attacks for about half of the time; then end the server, and truncate.

    The memory at the end is compared with the most after the first run of each attack, and after any attack in the
    first quarter of the time: the system's allocator keeps some of the largest allocation.
    """
    begin, descriptors, memory = time.monotonic(), 0, 0.0
    with Served(round.folder / "bus.db", None, "--max-connections", str(_LIMIT)) as server:
        with ControlTraffic(round, server.path) as control:
            for attack in ATTACKS:
                memory = max(memory, _run_attack(round, server, attack))
            descriptors = server.descriptors()
            for attack in _REPEATED:
                _run_attack(round, server, attack)
            while (spent := (time.monotonic() - begin) / round.seconds) < _ATTACK_SHARE:
                used = _run_attack(round, server, round.random.choice(ATTACKS))
                memory = max(memory, used) if spent < _ATTACK_SHARE / 2 else memory
            _expect_no_growth(round, server, descriptors, memory)
            control.is_disturbed = True
            server_death.end_and_restart(round, server)
        truncated.conversations(round, server)
        round.expect(server.stop() == 0, f"the server should end with 0: {server.log()[-1500:]}")
        round.expect("Traceback" not in server.log(), f"its log should have no traceback: {server.log()[-1500:]}")


def _run_attack(round: Round, server: Served, attack: Attack) -> float:
    """Run an attack to its end, and return the server's memory then."""
    attack(round, server)
    wait_until(lambda: _is_alone(server), "the end of the attackers' connections")
    return server.memory_mib()


def _is_alone(server: Served) -> bool:
    """Whether only the control clients, one sending and two reading, and this call have a connection."""
    return bool(server.ask("stats", {"full": False})["connections"] <= 4)


def _expect_no_growth(round: Round, server: Served, descriptors: int, memory: float) -> None:
    wait_until(lambda: server.descriptors() <= descriptors + _DESCRIPTORS, f"{descriptors} descriptors")
    used = server.memory_mib()
    round.expect(used < memory + _MEMORY_MIB, f"the server used {memory:.0f} MiB, and then {used:.0f} MiB")
