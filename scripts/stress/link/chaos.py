"""Chaos: kill relays, consumers, producers and servers of three linked hosts, until all at last have all messages."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import count
from typing import NamedTuple

import apsw

from raven import BusClient, RavenError
from scripts.harness.linked import Linked
from scripts.harness.program import Program
from scripts.stress.history import journal
from scripts.stress.history.call_recorder import EFFECTS
from scripts.stress.history.history import BusDump, dump_of
from scripts.stress.link import merge
from scripts.stress.link.roles import ANSWERS, HOSTS, ROLES, host_of
from scripts.stress.link.servers import Servers
from scripts.stress.trial import Round

_RELAY_LIFE_S, _ACTOR_LIFE_S = 3.5, 9.0
_PAUSE_S = 0.02
_MAX_WAIT_MS = 20_000
_REQUEST_S, _LAST_REQUEST_S = 8.0, 30.0
_MAX_DESCRIPTORS = 60
# Nothing may be left in the end: no open delivery, no frame, no news.
_LEFT = (
    ("open deliveries", "deliveries WHERE state < 2"),
    ("frames", "link_out"),
    ("unsent news", "link_news"),
)


class _Process(NamedTuple):
    """One process of an actor, and the time at which the trial kills it."""

    actor: str
    name: str
    program: Program
    kill_at: float


class Chaos:
    """Three hosts with relays, and the actors on them; all end with the `with` block.

    `command` is that of raven, for the relays; after the last kill all must have arrived in `drained_within_s`.
    """

    def __init__(
        self,
        round: Round,
        servers: Servers,
        stack: ExitStack,
        command: Sequence[str] | None,
        drained_within_s: float,
    ) -> None:
        self._round = round
        self._random = round.random
        self._servers = servers
        self._stack = stack
        self._drained_within_s = drained_within_s
        self._journals = round.folder / "journals"
        self._journal = journal.Journal(self._journals, "trial")
        self._started: Counter[str] = Counter()
        self._actors: dict[str, _Process] = {}
        self._relays: dict[str, tuple[Linked, float]] = {}
        self.dbs = {}
        for host in HOSTS:
            (round.folder / host).mkdir()
            self.dbs[host] = str(round.folder / host / "bus.db")
            with BusClient.at(f"trial:{host}", self.dbs[host]) as bus:
                bus.execute(EFFECTS)
        first, *others = servers.urls
        options = {} if command is None else {"command": command}
        for host, db in self.dbs.items():
            relay = stack.enter_context(Linked(db, first, host, *others, waits=False, **options))  # type: ignore[arg-type]
            self._relays[host] = (relay, self._end_of_life(_RELAY_LIFE_S))

    def run(self, seconds: float) -> None:
        """Kill and restart for `seconds`, then let all messages arrive, and judge by the journals."""
        asker = _Asker(self.dbs["alpha"])
        over_at = time.monotonic() + seconds
        for actor in ROLES:
            self._start(actor)
        asker.start()
        try:
            while time.monotonic() < over_at:
                self._kill_some()
                self._servers.step(seconds)
                time.sleep(_PAUSE_S)
        finally:
            asker.stop()
        self._servers.heal()
        for process in list(self._actors.values()):
            if ROLES[process.actor].program == "producer":
                self._end(process)
        self._drain()
        asker.join()
        asker.ask(min(_LAST_REQUEST_S, self._drained_within_s))
        self._round.expect(asker.answered, "the last request was not answered")
        for process in list(self._actors.values()):
            self._end(process)
        self._judge(asker)

    def _kill_some(self) -> None:
        now = time.monotonic()
        for process in list(self._actors.values()):
            if process.program.has_ended:
                self._round.report("broken", f"{process.name} has ended by itself")
                self._end(process)
                self._start(process.actor)
            elif now >= process.kill_at:
                self._round.count("kills")
                self._round.count(f"kills of {ROLES[process.actor].program}s")
                self._end(process)
                self._start(process.actor)
        for host, (relay, kill_at) in self._relays.items():
            if relay.has_ended:
                self._round.report("broken", f"the relay of {host} {_end_of(relay)}")
            elif now < kill_at:
                continue
            else:
                self._round.count("kills")
                self._round.count("kills of relays")
                relay.kill()
            assert relay.process.stdout is not None
            relay.process.stdout.close()
            relay.start(waits=False)
            self._relays[host] = (relay, self._end_of_life(_RELAY_LIFE_S))

    def _end_of_life(self, mean_s: float) -> float:
        return time.monotonic() + min(self._random.expovariate(1 / mean_s), 4 * mean_s)

    def _start(self, actor: str) -> None:
        self._started[actor] += 1
        process, role = f"{actor}.{self._started[actor]}", ROLES[actor]
        parameters = {
            "process": process,
            "journals": str(self._journals),
            "db": self.dbs[host_of(actor)],
            "seed": f"{self._round.seed}/{process}",
            "kill_point": None,
            "is_draining": False,
            "mode": role.mode,
        }
        self._journal.write("began", process=process)
        program = self._stack.enter_context(Program(f"stress.link.{role.program}", json.dumps(parameters)))
        self._actors[actor] = _Process(actor, process, program, self._end_of_life(_ACTOR_LIFE_S))

    def _end(self, process: _Process) -> None:
        process.program.end()
        self._journal.write("ended", process=process.name, code=process.program.wait())
        del self._actors[process.actor]

    def _drain(self) -> None:
        """Wait until no host has anything left to do for a message."""
        began = time.monotonic()
        while (left := self._left()) and time.monotonic() - began < self._drained_within_s:
            for host, (relay, _) in self._relays.items():
                if relay.has_ended:
                    self._round.report("broken", f"the relay of {host} {_end_of(relay)}")
                    relay.start(waits=False)
            time.sleep(0.1)
        for line in left:
            self._round.report("lost", f"after {self._drained_within_s:g} s {line}")
        self._round.keep_longest("ms until all had arrived", round(1000 * (time.monotonic() - began)))
        for host, (relay, _) in self._relays.items():
            descriptors = relay.descriptors()
            self._round.keep_longest("descriptors of a relay at most", descriptors)
            self._round.expect(descriptors <= _MAX_DESCRIPTORS, f"the relay of {host} has {descriptors} descriptors")

    def _left(self) -> list[str]:
        left = []
        for host, db in self.dbs.items():
            with _Reading(db) as bus:
                for what, table in _LEFT:
                    number = bus.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
                    if number:
                        left.append(f"{host} has {number} {what}")
        return left

    def _judge(self, asker: _Asker) -> None:
        dumps = {host: self._dump(host) for host in HOSTS}
        for verdict in merge.verdicts(dumps, journal.read(self._journals)):
            self._round.report(verdict.kind, verdict.text)
        histories = merge.split(dumps, journal.read(self._journals))
        for host, history in histories.items():
            self._round.count("messages", len(history.dump.messages))
            self._round.count("deliveries", len(history.dump.deliveries))
            receivers = {one.id for one in history.receptions if host_of(one.process) != host}
            self._round.count("messages across hosts", len(receivers))
            self._round.count("dead letters", sum(one.state == "dead" for one in history.dump.deliveries))
        self._round.count("requests answered", asker.answered)
        self._round.count("requests that timed out", asker.timed_out)
        for problem in asker.problems:
            self._round.report("broken", problem)
        with _Reading(self.dbs["gamma"]) as bus:
            query = (
                "SELECT body ->> 'number', count(*) FROM trial_effects JOIN messages ON id = message"
                " WHERE type = 'question' GROUP BY 1 HAVING count(*) > 1"
            )
            for number, times in bus.execute(query):
                self._round.report("duplicated", f"question {number} was answered {times} times")

    def _dump(self, host: str) -> BusDump:
        with _Reading(self.dbs[host]) as bus:
            broken = "; ".join(str(row[0]) for row in bus.execute("PRAGMA integrity_check"))
        self._round.expect(broken == "ok", f"the bus of {host} is damaged: {broken}")
        with Program("stress.history.dump", self.dbs[host]) as dump:
            dump.tell("dump")
            return dump_of(json.loads(dump.line()))


def _end_of(relay: Linked) -> str:
    return f"has ended by itself with {relay.process.returncode}: {relay.log()[-400:]}"


class _Asker(threading.Thread):
    """Asks from alpha one question after another, which gamma answers."""

    def __init__(self, db: str) -> None:
        super().__init__(daemon=True)
        self._db = db
        self._numbers = count()
        self._stopping = threading.Event()
        self.answered = self.timed_out = 0
        self.problems: list[str] = []

    def run(self) -> None:
        """Ask until `stop`."""
        while not self._stopping.is_set():
            self.ask(_REQUEST_S)
            self._stopping.wait(0.2)

    def stop(self) -> None:
        """Ask no more."""
        self._stopping.set()

    def ask(self, timeout_s: float) -> None:
        """Ask one question; its answer must be that to this question."""
        number = next(self._numbers)
        try:
            with BusClient.at("asker:link", self._db) as bus:
                reply = bus.request(ANSWERS, "question", {"number": number}, timeout_s=timeout_s)
        except TimeoutError:
            self.timed_out += 1
        except RavenError as error:
            self.problems.append(f"question {number} raised {type(error).__name__}: {error}")
        else:
            self.answered += 1
            if reply.body != {"answer": number}:
                self.problems.append(f"question {number} got the answer {reply.body}")


class _Reading:
    """A connection that reads a bus, closed at the end of the `with` block."""

    def __init__(self, db: str) -> None:
        self._bus = apsw.Connection(db)
        self._bus.set_busy_timeout(_MAX_WAIT_MS)

    def __enter__(self) -> apsw.Connection:
        return self._bus

    def __exit__(self, *error: object) -> None:
        self._bus.close()
