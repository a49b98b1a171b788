"""Soak: a mixed load for a long time, with restarts, while memory, descriptors and files are looked at.

A process of each part lives from the begin to the end: what it holds is measured. Others of the same parts, among them
a second helper, are killed and started again all the while.
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
from scripts.stress.soak.traffic_process import PARTS, TABLES
from scripts.stress.trial import Round

_SAMPLES = 240
_RESTART_EVERY_S = 3.0
_DRAIN_WITHIN_S = 60.0
_END_WITHIN_S = 30.0
_MIB = 2**20
# They begin after those who take, and end before them.
_SENDERS = ("producer", "asker", "caller")


def run(round: Round) -> None:
    """Let all parts work for the time of the round, then let the mail be taken, and see what has grown or is left."""
    db = str(round.folder / "bus.db")
    with ExitStack() as stack:
        bus = stack.enter_context(HostedBus.at("soak:observer", db, register=False))
        for statement in TABLES:
            bus.execute(statement)
        crew = stack.enter_context(_Crew(round, db))
        samples = _watch(round, bus, crew)
        crew.stop(_SENDERS)
        left = _drain(bus)
        crew.stop(PARTS)
        _judge(round, bus, samples, left)
    round.draw(plot.draw(samples))


class _Crew:
    """The processes: of each part one that stays, and one that is killed and started again."""

    def __init__(self, round: Round, db: str) -> None:
        self._round, self._db = round, db
        self._sockets = {
            stays: str(round.folder / f"{'stays' if stays else 'restarts'}.sock") for stays in (True, False)
        }
        self.residents: dict[str, Program] = {}
        self._others: dict[str, Program] = {}
        self.restarts = 0

    def __enter__(self) -> _Crew:
        try:
            for part in (*(part for part in PARTS if part not in _SENDERS), *_SENDERS):
                self.residents[part] = self._start(part, stays=True)
                self._others[part] = self._start(part, stays=False)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        for program in (*self.residents.values(), *self._others.values()):
            program.end()

    def restart_one(self) -> None:
        """End one of the processes that do not stay, by -9 or by a word, and start another in its place."""
        part = self._round.random.choice(list(self._others))
        program = self._others[part]
        if self._round.random.random() < 0.5:
            program.signal(signal.SIGKILL)
            self._round.count("kills")
        else:
            program.tell("end")
            self._round.count("normal exits")
        program.wait(_END_WITHIN_S)
        program.end()
        self._others[part] = self._start(part, stays=False)
        self.restarts += 1

    def stop(self, parts: object) -> None:
        """Tell the processes of some parts to end, and wait until they have."""
        chosen = [
            (part, program)
            for crew in (self.residents, self._others)
            for part, program in crew.items()
            if part in parts and not program.has_ended  # type: ignore[operator]
        ]
        for _, program in chosen:
            program.tell("end")
        for part, program in chosen:
            code = program.wait(_END_WITHIN_S)
            self._round.expect(code in (0, 143), f"a {part} ends in order, and not with {code}")

    def _start(self, part: str, *, stays: bool) -> Program:
        program = Program("stress.soak.traffic_process", part, self._db, self._sockets[stays], greets=True)
        return program.__enter__()


def _watch(round: Round, bus: HostedBus, crew: _Crew) -> list[Sample]:
    begin = time.monotonic()
    every_s = round.seconds / _SAMPLES
    samples: list[Sample] = []
    due, restart_at = begin, begin + _RESTART_EVERY_S
    while (now := time.monotonic()) < begin + round.seconds:
        if now < min(due, restart_at):
            time.sleep(min(due, restart_at) - now)
            continue
        if now >= restart_at:
            crew.restart_one()
            restart_at = time.monotonic() + _RESTART_EVERY_S
        if now >= due:
            samples.append(_look(time.monotonic() - begin, bus, crew))
            due = now + every_s
    for part, program in crew.residents.items():
        round.expect(not program.has_ended, f"the {part} that stays lives to the end")
    round.count("messages", bus.last_id())
    return samples


def _look(at_s: float, bus: HostedBus, crew: _Crew) -> Sample:
    pids = {part: program.pid for part, program in crew.residents.items()} | {"observer": os.getpid()}
    return Sample(
        round(at_s, 1),
        bus.last_id(),
        crew.restarts,
        os.stat(bus.db_path).st_size / _MIB,
        bus.wal_size() / _MIB,
        {part: memory_mib(pid) for part, pid in pids.items()},
        {part: descriptors(pid) for part, pid in pids.items()},
    )


def _drain(bus: BusClient) -> int:
    """Wait until the jobs are done; returns how many are left when the time for that is over."""
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
        round.report("lost", f"{len(dead)} deliveries have died, such as a {one.type} to {one.recipient}: {one.reason}")
    for growth in growths(samples):
        round.report("broken", growth)


def _count(bus: BusClient, table: str) -> int:
    return int(bus.execute(f"SELECT count(*) FROM {table}")[0][0])
