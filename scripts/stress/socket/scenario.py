"""Abuse: everything that a client of a helper can do wrong, beside two honest ones who must not be harmed."""

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
from scripts.stress.socket.control_traffic import Honest
from scripts.stress.trial import Round

_LIMIT = 400
# How much of the time there is abuse beside the honest.
_BESIDE_PART = 0.45
# What a helper may hold more after abuse than it held before, in memory and in descriptors.
_MEMORY_MIB = 48.0
_DESCRIPTORS = 4  # of the honest, whose reader connects anew now and then
Abuse = Callable[[Round, Served], None]

BESIDE: list[Abuse] = [
    garbage.bytes_at_random,
    garbage.json_at_random,
    garbage.near_requests,
    garbage.too_much,
    slow_clients.slow_senders,
    slow_clients.long_halves,
    partial(slow_clients.at_the_limit, limit=_LIMIT),
    slow_clients.slow_readers,
    slow_clients.many_waits,
    connect_storm.connects,
    unauthorized.behind_a_bound_socket,
    unauthorized.as_another_user,
    occupied_path.places,
    server_death.without_descriptors,
]
# Quick ones that leave much behind, if anything is left.
_AGAIN = (slow_clients.slow_senders, garbage.near_requests)


def run(round: Round) -> None:
    """Do each abuse once, then any of them until half of the time is over; then end and cut what can be ended and cut.

    What the helper holds at the end is held against what it held after the first of each, and at most after any until
    a quarter of the time was over: the system's allocator keeps some of what the largest took.
    """
    begin, descriptors, memory = time.monotonic(), 0, 0.0
    with Served(round.folder / "bus.db", None, "--max-connections", str(_LIMIT)) as helper:
        with Honest(round, helper.path) as honest:
            for abuse in BESIDE:
                memory = max(memory, _suffer(round, helper, abuse))
            descriptors = helper.descriptors()
            for abuse in _AGAIN:
                _suffer(round, helper, abuse)
            while (spent := (time.monotonic() - begin) / round.seconds) < _BESIDE_PART:
                held = _suffer(round, helper, round.random.choice(BESIDE))
                memory = max(memory, held) if spent < _BESIDE_PART / 2 else memory
            _is_as_before(round, helper, descriptors, memory)
            honest.is_disturbed = True
            server_death.ended_and_started_again(round, helper)
        truncated.conversations(round, helper)
        round.expect(helper.stop() == 0, f"the helper should end well: {helper.log()[-1500:]}")
        round.expect("Traceback" not in helper.log(), f"its log should hold nothing unforeseen: {helper.log()[-1500:]}")


def _suffer(round: Round, helper: Served, abuse: Abuse) -> float:
    """Let a helper suffer an abuse to its end, and return how much memory it holds then."""
    abuse(round, helper)
    wait_until(lambda: _is_alone(helper), "the end of the others' connections")
    return helper.memory_mib()


def _is_alone(helper: Served) -> bool:
    """Whether no one has a connection but the honest, one to send and two to read, and whoever asks this."""
    return bool(helper.ask("stats", {"full": False})["connections"] <= 4)


def _is_as_before(round: Round, helper: Served, descriptors: int, memory: float) -> None:
    wait_until(lambda: helper.descriptors() <= descriptors + _DESCRIPTORS, f"{descriptors} descriptors")
    held = helper.memory_mib()
    round.expect(held < memory + _MEMORY_MIB, f"it held {memory:.0f} MiB, and then {held:.0f} MiB")
