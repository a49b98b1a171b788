"""Soak: a mixed load for a long time, with restarts, while memory, descriptors and file sizes are measured.

One process of each role runs from the start to the end and is measured. A second process of each role, among them a
second server, is killed and started again all the time.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack

from raven import BusClient
from raven.host.bus import HostedBus
from scripts.harness.program import Program, descriptors, memory_mib
from scripts.stress.soak import plot
from scripts.stress.soak.samples import Sample, growths
from scripts.stress.soak.traffic_process import ROLES, TABLES
from scripts.stress.trial import Round

_SAMPLES = 240
_RESTART_EVERY_S = 3.0
_DRAIN_WITHIN_S = 60.0
_END_WITHIN_S = 30.0
_MIB = 2**20
# The senders start after the receivers, and end before them.
_SENDERS = ("producer", "requester", "socket_sender")


def run(round: Round) -> None:
    """Run all roles for the time of the round, drain the bus, and report growth and losses."""
    db = str(round.folder / "bus.db")
    with ExitStack() as stack:
        bus = stack.enter_context(HostedBus.at("soak:observer", db, register=False))
        for statement in TABLES:
            bus.execute(statement)
        processes = stack.enter_context(_Processes(round, db))
        samples = _measure(round, bus, processes)
        processes.stop(_SENDERS)
        left = _drain(bus)
        processes.stop(ROLES)
        _judge(round, bus, samples, left)
    round.draw(plot.draw(samples))


class _Processes:
    """The processes: of each role a permanent one, and one that is killed and started again."""

    def __init__(self, round: Round, db: str) -> None:
        self._round, self._db = round, db
        self._sockets = {
            permanent: str(round.folder / f"{'permanent' if permanent else 'restarted'}.sock")
            for permanent in (True, False)
        }
        self.permanent: dict[str, Program] = {}
        self._restarted: dict[str, Program] = {}
        self.restarts = 0

    def __enter__(self) -> _Processes:
        try:
            for role in (*(role for role in ROLES if role not in _SENDERS), *_SENDERS):
                self.permanent[role] = self._start(role, permanent=True)
                self._restarted[role] = self._start(role, permanent=False)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        for program in (*self.permanent.values(), *self._restarted.values()):
            program.end()

    def restart_one(self) -> None:
        """End a random restarted process, by kill -9 or by a line, and start another in its place."""
        role = self._round.random.choice(list(self._restarted))
        program = self._restarted[role]
        if self._round.random.random() < 0.5:
            program.signal(signal.SIGKILL)
            self._round.count("kills")
        else:
            program.tell("end")
            self._round.count("normal exits")
        program.wait(_END_WITHIN_S)
        program.end()
        self._restarted[role] = self._start(role, permanent=False)
        self.restarts += 1

    def stop(self, roles: object) -> None:
        """End the processes of some roles, and wait for their exit."""
        chosen = [
            (role, program)
            for processes in (self.permanent, self._restarted)
            for role, program in processes.items()
            if role in roles and not program.has_ended  # type: ignore[operator]
        ]
        for _, program in chosen:
            program.tell("end")
        for role, program in chosen:
            code = program.wait(_END_WITHIN_S)
            self._round.expect(code in (0, 143), f"a {role} should end with 0 or SIGTERM, and ended with {code}")

    def _start(self, role: str, *, permanent: bool) -> Program:
        program = Program("stress.soak.traffic_process", role, self._db, self._sockets[permanent], greets=True)
        return program.__enter__()


def _measure(round: Round, bus: HostedBus, processes: _Processes) -> list[Sample]:
    begin = time.monotonic()
    every_s = round.seconds / _SAMPLES
    samples: list[Sample] = []
    due, restart_at = begin, begin + _RESTART_EVERY_S
    while (now := time.monotonic()) < begin + round.seconds:
        if now < min(due, restart_at):
            time.sleep(min(due, restart_at) - now)
            continue
        if now >= restart_at:
            processes.restart_one()
            restart_at = time.monotonic() + _RESTART_EVERY_S
        if now >= due:
            samples.append(_sample(time.monotonic() - begin, bus, processes))
            due = now + every_s
    for role, program in processes.permanent.items():
        round.expect(not program.has_ended, f"the permanent {role} should not end")
    round.count("messages", bus.last_id())
    return samples


def _sample(at_s: float, bus: HostedBus, processes: _Processes) -> Sample:
    pids = {role: program.pid for role, program in processes.permanent.items()} | {"observer": os.getpid()}
    return Sample(
        round(at_s, 1),
        bus.last_id(),
        processes.restarts,
        os.stat(bus.db_path).st_size / _MIB,
        bus.wal_size() / _MIB,
        {role: memory_mib(pid) for role, pid in pids.items()},
        {role: descriptors(pid) for role, pid in pids.items()},
    )


def _drain(bus: BusClient) -> int:
    """Wait until the jobs are done; returns the number of remaining jobs after the timeout."""
    deadline = time.monotonic() + _DRAIN_WITHIN_S
    while (left := _count(bus, "soak_open")) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def _judge(round: Round, bus: BusClient, samples: list[Sample], left: int) -> None:
    if left:
        round.report("lost", f"{left} jobs were sent and never done")
    if duplicated := _count(bus, "soak_duplicated"):
        round.report("duplicated", f"{duplicated} jobs were done twice")
    if dead := bus.dead():
        one = dead[0]
        round.report(
            "lost", f"{len(dead)} deliveries are dead letters, such as a {one.type} to {one.recipient}: {one.reason}"
        )
    for growth in growths(samples):
        round.report("broken", growth)


def _count(bus: BusClient, table: str) -> int:
    return int(bus.execute(f"SELECT count(*) FROM {table}")[0][0])
