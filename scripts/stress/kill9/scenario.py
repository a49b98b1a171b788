"""Kill9: kills producers, consumers of every mode, the elected WAL watcher and the server with -9, again and again.

First a short run is killed at one step after another (exhaustive.py). Then all actors run: the trial kills about half
of their processes at random moments, and half kill themselves at their nth step (self_kill.py). At last it kills all at
once, and starts all again until they have received all messages. The checker judges by their journals.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from raven import BusClient
from raven.wake.doorbell import Doorbells
from scripts.harness.program import Program
from scripts.stress.history import checker, journal
from scripts.stress.history.assemble import history_of
from scripts.stress.history.call_recorder import EFFECTS
from scripts.stress.history.history import History, dump_of
from scripts.stress.kill9 import exhaustive
from scripts.stress.kill9.message_factory import ADDRESSES
from scripts.stress.kill9.roles import ROLES, SENDS_ONLY, ActorProcess
from scripts.stress.trial import Round

_DRAINED_WITHIN_S = 90.0
_WOKEN_WITHIN_S = 20.0
_ENDED_WITHIN_S = 20.0
_MEAN_LIFETIME_S = 3.5
# A process that kills itself does so within this many steps, about as many as it takes in twice that time.
_MAX_STEPS = {"io": 2500, "line": 60_000}
_KILL_WATCHER_EVERY_S = 2.5
_PAUSE_S = 0.01
_IDLE_S = 1.0
_SELF_KILLS = {"io": "kills at an I/O call", "line": "kills at a line of code"}
# A round of this many seconds or more tries every step in the exhaustive part.
_EVERY_STEP_S = 120.0


class _Actors:
    """The processes of one round, and the journal of their starts and ends."""

    def __init__(self, round: Round) -> None:
        self._round = round
        self._random = round.random
        self.db = str(round.folder / "bus.db")
        self.journals = round.folder / "journals"
        self._journal = journal.Journal(self.journals, "kill9")
        self._processes: dict[str, ActorProcess] = {}
        self._started: dict[str, int] = dict.fromkeys(ROLES, 0)
        self._kill_watcher_at = 0.0

    def kill_and_restart(self, seconds: float) -> None:
        """Kill and restart processes for `seconds`, and then kill all at once."""
        over_at = time.monotonic() + seconds
        self._kill_watcher_at = time.monotonic() + _KILL_WATCHER_EVERY_S
        for actor in ROLES:
            self._start(actor)
        while (now := time.monotonic()) < over_at:
            for process in list(self._processes.values()):
                if process.program.has_ended:
                    self._record_kill(process)
                    self._start(process.actor)
                elif now >= process.kill_at:
                    self._kill(process, "kills from outside")
                    self._start(process.actor)
            if now >= self._kill_watcher_at:
                self._kill_watcher(now)
            time.sleep(_PAUSE_S)
        for process in list(self._processes.values()):
            process.program.signal(signal.SIGKILL)
        for process in list(self._processes.values()):
            self._kill(process, "kills of all at once")

    def drain(self) -> None:
        """Start all actors again and let them receive all messages, and then further ones that must wake them."""
        with Program("stress.history.dump", self.db) as dump:
            for actor in ROLES:
                if actor not in SENDS_ONLY:
                    self._start(actor, is_draining=True)
            self._await_no_open_deliveries(dump, "the remaining messages", _DRAINED_WITHIN_S)
            for actor in SENDS_ONLY:
                process = self._start(actor, is_draining=True)
                _until(lambda process=process: process.program.has_ended, _ENDED_WITHIN_S)
                self._expect_end(process)
                self._await_no_open_deliveries(dump, f"the messages of {actor} in the drain phase", _WOKEN_WITHIN_S)
            # A consumer records a message a moment after its ack in the file.
            self._round.expect(_until(self._is_idle, _DRAINED_WITHIN_S), "the consumers should become idle")
            for process in list(self._processes.values()):
                process.program.signal(signal.SIGTERM)
            for process in list(self._processes.values()):
                _until(lambda process=process: process.program.has_ended, _ENDED_WITHIN_S)
                self._expect_end(process)

    def _is_idle(self) -> bool:
        """Whether no consumer receives a message for a while."""
        before = self._received()
        time.sleep(_IDLE_S)
        return self._received() == before

    def _received(self) -> int:
        names = [process.name for process in self._processes.values()]
        return sum(event.type == "received" for name in names for event in journal.read(self.journals, name))

    def history(self) -> History:
        """Return the history, after the end of all processes."""
        with Program("stress.history.dump", self.db) as dump:
            dump.tell("check")
            integrity = json.loads(dump.line())
            self._round.expect(integrity == "ok", f"the file should be sound: {integrity}")
            dump.tell("dump")
            contents = json.loads(dump.line())
        return history_of(journal.read(self.journals), dump_of(contents))

    def end(self) -> None:
        """End all processes."""
        for process in self._processes.values():
            process.program.end()
        self._journal.close()

    def _start(self, actor: str, is_draining: bool = False) -> ActorProcess:
        self._started[actor] += 1
        name = f"{actor}.{self._started[actor]}"
        role = ROLES[actor]
        kill_point: list[Any] | None = None
        kill_at = time.monotonic() + self._random.expovariate(1 / _MEAN_LIFETIME_S)
        if not is_draining and role.kill_steps and self._random.random() < 0.6:
            kind = self._random.choice(role.kill_steps)
            kill_point = [kind, self._random_step(kind), self._random.choice(("before", "after", "halfway"))]
            kill_at += 2 * _MEAN_LIFETIME_S
        parameters = {
            "process": name,
            "journals": str(self.journals),
            "db": self.db,
            "seed": f"{self._round.seed}/{name}",
            "kill_point": kill_point,
            "is_draining": is_draining,
            "mode": role.mode,
        }
        self._journal.write("began", process=name)
        program = Program(f"stress.kill9.{role.program}", json.dumps(parameters))
        process = self._processes[actor] = ActorProcess(actor, name, program, kill_at)
        return process

    def _random_step(self, kind: str) -> int:
        """Return a random step number: in three of ten cases one of the first steps, else any step."""
        most = _MAX_STEPS[kind]
        return 1 + int(most ** self._random.random() if self._random.random() < 0.3 else most * self._random.random())

    def _kill(self, process: ActorProcess, how: str) -> None:
        process.program.signal(signal.SIGKILL)
        self._record_kill(process, how)

    def _record_kill(self, process: ActorProcess, how: str | None = None) -> None:
        """Record the end of a killed process, and count it."""
        code = process.program.wait(_ENDED_WITHIN_S)
        self._journal.write("ended", process=process.name, code=code)
        process.program.end()
        del self._processes[process.actor]
        if code != -signal.SIGKILL:
            self._round.report("broken", f"{process.name} has ended by itself with {code}")
            return
        steps = [event.fields["of"] for event in journal.read(self.journals, process.name) if event.type == "dying"]
        self._round.count("kills")
        self._round.count(_SELF_KILLS[steps[0]] if steps else how or "kills")
        self._round.count(f"kills of {ROLES[process.actor].kind}")

    def _kill_watcher(self, now: float) -> None:
        for process in list(self._processes.values()):
            if _is_watcher(process.program.pid):
                self._kill_watcher_at = now + self._random.expovariate(1 / _KILL_WATCHER_EVERY_S)
                self._kill(process, "kills of the WAL watcher")
                self._start(process.actor)
                return

    def _expect_end(self, process: ActorProcess) -> None:
        """Record the end of a process that was not killed, and report an exit code other than 0."""
        if not process.program.has_ended:
            self._round.report("broken", f"{process.name} does not end")
            process.program.signal(signal.SIGKILL)
        code = process.program.wait(_ENDED_WITHIN_S)
        self._journal.write("ended", process=process.name, code=code)
        self._round.expect(code == 0, f"{process.name} should end with 0, and ended with {code}")
        process.program.end()
        del self._processes[process.actor]

    def _await_no_open_deliveries(self, dump: Program, messages: str, within_s: float) -> None:
        remaining: list[Any] = []

        def is_drained() -> bool:
            nonlocal remaining
            dump.tell("open")
            remaining = json.loads(dump.line())
            return not remaining

        if not _until(is_drained, within_s):
            self._round.report("lost", f"{messages} were not received within {within_s:g} s: {remaining}")


def run(round: Round) -> None:
    """Kill a short run at each of its steps; then kill and restart all actors, drain the bus, and check the history."""
    exhaustive.run(round, stride=max(1, int(_EVERY_STEP_S / round.seconds)), seconds=0.15 * round.seconds)
    actors = _Actors(round)
    with BusClient("outside", "setup", actors.db) as bus:
        bus.register(*ADDRESSES)
        bus.execute(EFFECTS)
    try:
        actors.kill_and_restart(0.7 * round.seconds)
        round.count("doorbells left by killed processes", len(_doorbells(actors.db)))
        actors.drain()
    finally:
        actors.end()
    history = actors.history()
    for verdict in checker.check(history):
        round.report(verdict.kind, verdict.text)
    _count(round, history)
    _sweep(round, actors.db)


def _count(round: Round, history: History) -> None:
    returned = [sending for sending in history.sendings if sending.outcome == "done"]
    round.count("sends that returned", len(returned))
    round.count("sends interrupted", sum(sending.outcome == "unknown" for sending in history.sendings))
    round.count("messages", len(history.dump.messages))
    round.count("messages received", len(history.receptions))
    round.count("transactions", len(history.dump.effects))
    round.count("at-most-once messages lost with the consumer that held them", _lost_with_consumer(history))


def _lost_with_consumer(history: History) -> int:
    modes = history.modes()
    received = {(reception.address, reception.id) for reception in history.receptions}
    auto = (delivery for delivery in history.dump.deliveries if modes.get(delivery.recipient) == "auto")
    return sum((delivery.recipient, delivery.message) not in received for delivery in auto)


def _sweep(round: Round, db: str) -> None:
    """Check that a sweep removes the doorbells of killed processes, and that ended processes have left none."""
    for path in _doorbells(db):
        os.utime(path, (0, 0))  # a sweep spares new files, which may be incomplete
    Doorbells(db).sweep()
    names = sorted(path.name for path in Path(f"{db}-bells").iterdir())
    round.expect(names == ["watch.lock"], f"only the lock should remain in the swept folder of doorbells, not {names}")


def _doorbells(db: str) -> list[Path]:
    return [path for path in Path(f"{db}-bells").rglob("*") if path.is_fifo()]


def _is_watcher(pid: int) -> bool:
    """Whether a process holds the watcher's lock, see proc(5); False if that cannot be read."""
    folder = Path(f"/proc/{pid}/fd")
    try:
        locks = [path.name for path in folder.iterdir() if os.readlink(path).endswith("-bells/watch.lock")]
        return any("FLOCK" in Path(f"/proc/{pid}/fdinfo/{name}").read_text(encoding="utf-8") for name in locks)
    except OSError:
        return False


def _until(condition: Callable[[], bool], within_s: float) -> bool:
    """Wait until a condition holds; returns False after `within_s`."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_PAUSE_S)
    return True
