"""Storm: producers, consumers of every mode, the elected watch and the helper, all killed with -9 again and again.

First a short run dies at one step after another (exhaustive.py). Then half of the deaths come from outside at any
moment, half from inside at the nth step (self_kill.py). Then all are killed at once, started again, and left alone
until all mail is taken; and a checker judges by what they wrote down.
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
from scripts.stress.history.history import History, look_of
from scripts.stress.kill9 import exhaustive
from scripts.stress.kill9.message_factory import ADDRESSES
from scripts.stress.kill9.roles import CAST, SENDS_ONLY, Life
from scripts.stress.trial import Round

_DRAINED_WITHIN_S = 90.0
_WOKEN_WITHIN_S = 20.0
_ENDED_WITHIN_S = 20.0
_LIFE_S = 3.5
# How many steps a life that dies from inside has at most, about as many as it takes in that time.
_MOST_STEPS = {"io": 2500, "line": 60_000}
_AIM_AT_WATCH_EVERY_S = 2.5
_PAUSE_S = 0.01
_STILL_S = 1.0
_SELF_KILLS = {"io": "kills at an I/O call", "line": "kills at a line of code"}
# In a round of so many seconds there is time to die at every step, in a shorter one at some.
_STRIDE_S = 120.0


class _Storm:
    """The processes of one round, and what is written down of them."""

    def __init__(self, round: Round) -> None:
        self._round = round
        self._random = round.random
        self.db = str(round.folder / "bus.db")
        self.journals = round.folder / "journals"
        self._journal = journal.Journal(self.journals, "kill9")
        self._lives: dict[str, Life] = {}
        self._started: dict[str, int] = dict.fromkeys(CAST, 0)
        self._aims_at = 0.0

    def rage(self, seconds: float) -> None:
        """Kill and start again for so long, and then kill all at once."""
        over_at = time.monotonic() + seconds
        self._aims_at = time.monotonic() + _AIM_AT_WATCH_EVERY_S
        for actor in CAST:
            self._start(actor)
        while (now := time.monotonic()) < over_at:
            for life in list(self._lives.values()):
                if life.program.has_ended:
                    self._bury(life)
                    self._start(life.actor)
                elif now >= life.killed_at:
                    self._kill(life, "kills from outside")
                    self._start(life.actor)
            if now >= self._aims_at:
                self._kill_the_watch(now)
            time.sleep(_PAUSE_S)
        for life in list(self._lives.values()):
            life.program.signal(signal.SIGKILL)
        for life in list(self._lives.values()):
            self._kill(life, "kills of all at once")

    def calm(self) -> None:
        """Start all again, let them take all that is left, and then what comes last, for which they must be woken."""
        with Program("stress.history.dump", self.db) as look:
            for actor in CAST:
                if actor not in SENDS_ONLY:
                    self._start(actor, is_calm=True)
            self._drain(look, "what the storm has left", _DRAINED_WITHIN_S)
            for actor in SENDS_ONLY:
                life = self._start(actor, is_calm=True)
                _until(lambda life=life: life.program.has_ended, _ENDED_WITHIN_S)
                self._expect_end(life)
                self._drain(look, f"what {actor} has sent in the calm", _WOKEN_WITHIN_S)
            # What is acked in the file is in the hands of its consumer only a moment later.
            self._round.expect(_until(self._is_still, _DRAINED_WITHIN_S), "all have received what there is")
            for life in list(self._lives.values()):
                life.program.signal(signal.SIGTERM)
            for life in list(self._lives.values()):
                _until(lambda life=life: life.program.has_ended, _ENDED_WITHIN_S)
                self._expect_end(life)

    def _is_still(self) -> bool:
        """Whether nobody has received anything for a while."""
        before = self._received()
        time.sleep(_STILL_S)
        return self._received() == before

    def _received(self) -> int:
        lives = [life.name for life in self._lives.values()]
        return sum(event.what == "received" for name in lives for event in journal.read(self.journals, name))

    def look(self) -> History:
        """Return what is known in the end, when nobody is there any more."""
        with Program("stress.history.dump", self.db) as look:
            look.tell("check")
            self._round.expect((said := json.loads(look.line())) == "ok", f"the file should be sound, and is: {said}")
            look.tell("look")
            shape = json.loads(look.line())
        return history_of(journal.read(self.journals), look_of(shape))

    def end(self) -> None:
        """Leave nothing running."""
        for life in self._lives.values():
            life.program.end()
        self._journal.close()

    def _start(self, actor: str, is_calm: bool = False) -> Life:
        self._started[actor] += 1
        name = f"{actor}.{self._started[actor]}"
        role = CAST[actor]
        death: list[Any] | None = None
        killed_at = time.monotonic() + self._random.expovariate(1 / _LIFE_S)
        seed = f"{self._round.seed}/{name}"
        if not is_calm and role.deaths and self._random.random() < 0.6:
            of = self._random.choice(role.deaths)
            death = [of, self._steps(of), self._random.choice(("before", "after", "halfway"))]
            killed_at += 2 * _LIFE_S
        part = {"life": name, "journals": str(self.journals), "db": self.db, "seed": seed, "death": death}
        self._journal.write("began", life=name)
        program = Program(f"stress.kill9.{role.program}", json.dumps({**part, "is_calm": is_calm, "role": role.role}))
        life = self._lives[actor] = Life(actor, name, program, killed_at)
        return life

    def _steps(self, of: str) -> int:
        """Return at which step to die: one of the first, or any that it may come to."""
        most = _MOST_STEPS[of]
        return 1 + int(most ** self._random.random() if self._random.random() < 0.3 else most * self._random.random())

    def _kill(self, life: Life, how: str) -> None:
        life.program.signal(signal.SIGKILL)
        self._bury(life, how)

    def _bury(self, life: Life, how: str | None = None) -> None:
        """Write down that a life has ended, and count how."""
        code = life.program.wait(_ENDED_WITHIN_S)
        self._journal.write("ended", life=life.name, code=code)
        life.program.end()
        del self._lives[life.actor]
        if code != -signal.SIGKILL:
            self._round.report("broken", f"{life.name} has ended by itself with {code}")
            return
        dying = [event.told["of"] for event in journal.read(self.journals, life.name) if event.what == "dying"]
        self._round.count("kills")
        self._round.count(_SELF_KILLS[dying[0]] if dying else how or "kills")
        self._round.count(f"kills of {CAST[life.actor].kind}")

    def _kill_the_watch(self, now: float) -> None:
        for life in list(self._lives.values()):
            if _has_the_watch(life.program.pid):
                self._aims_at = now + self._random.expovariate(1 / _AIM_AT_WATCH_EVERY_S)
                self._kill(life, "kills of the WAL watcher")
                self._start(life.actor)
                return

    def _expect_end(self, life: Life) -> None:
        """Write down the end of a life that nobody has killed, and say so where that was not as it should be."""
        if not life.program.has_ended:
            self._round.report("broken", f"{life.name} does not end")
            life.program.signal(signal.SIGKILL)
        code = life.program.wait(_ENDED_WITHIN_S)
        self._journal.write("ended", life=life.name, code=code)
        self._round.expect(code == 0, f"{life.name} should end with 0, and has ended with {code}")
        life.program.end()
        del self._lives[life.actor]

    def _drain(self, look: Program, what: str, within_s: float) -> None:
        left: list[Any] = []

        def is_drained() -> bool:
            nonlocal left
            look.tell("open")
            left = json.loads(look.line())
            return not left

        if not _until(is_drained, within_s):
            self._round.report("lost", f"{what} is not taken within {within_s:g} s: {left}")


def run(round: Round) -> None:
    """Die at one step after another; then let it storm for most of the time, and let all come to an end."""
    exhaustive.run(round, stride=max(1, int(_STRIDE_S / round.seconds)), seconds=0.15 * round.seconds)
    storm = _Storm(round)
    with BusClient("outside", "founder", storm.db) as bus:
        bus.register(*ADDRESSES)
        bus.execute(EFFECTS)
    try:
        storm.rage(0.7 * round.seconds)
        round.count("doorbells left by killed processes", len(_doorbells(storm.db)))
        storm.calm()
    finally:
        storm.end()
    found = storm.look()
    for verdict in checker.check(found):
        round.report(verdict.kind, verdict.what)
    _count(round, found)
    _sweep(round, storm.db)


def _count(round: Round, found: History) -> None:
    sent = [sending for sending in found.sendings if sending.outcome == "done"]
    round.count("sends that returned", len(sent))
    round.count("sends interrupted", sum(sending.outcome == "unknown" for sending in found.sendings))
    round.count("messages", len(found.look.messages))
    round.count("messages received", len(found.receipts))
    round.count("transactions", len(found.look.effects))
    round.count("at-most-once messages lost with the consumer that held them", _lost_in_hand(found))


def _lost_in_hand(found: History) -> int:
    modes = found.modes()
    received = {(receipt.address, receipt.id) for receipt in found.receipts}
    auto = (delivery for delivery in found.look.deliveries if modes.get(delivery.recipient) == "auto")
    return sum((delivery.recipient, delivery.message) not in received for delivery in auto)


def _sweep(round: Round, db: str) -> None:
    """See that the doorbells of the dead go, and that none of the living is left."""
    for path in _doorbells(db):
        os.utime(path, (0, 0))  # what is half made has a while to become whole
    Doorbells(db).sweep()
    names = sorted(path.name for path in Path(f"{db}-bells").iterdir())
    round.expect(names == ["watch.lock"], f"in the swept folder of doorbells only the lock should be left, not {names}")


def _doorbells(db: str) -> list[Path]:
    return [path for path in Path(f"{db}-bells").rglob("*") if path.is_fifo()]


def _has_the_watch(pid: int) -> bool:
    """Whether a process holds the lock of the watch, see proc(5); where that is not to be seen, none has."""
    folder = Path(f"/proc/{pid}/fd")
    try:
        locks = [path.name for path in folder.iterdir() if os.readlink(path).endswith("-bells/watch.lock")]
        return any("FLOCK" in Path(f"/proc/{pid}/fdinfo/{name}").read_text(encoding="utf-8") for name in locks)
    except OSError:
        return False


def _until(condition: Callable[[], bool], within_s: float) -> bool:
    """Wait until a condition holds, and return whether it has come to."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_PAUSE_S)
    return True
