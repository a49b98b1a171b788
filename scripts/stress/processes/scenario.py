"""Processes: forks, threads, cancelled tasks, stopped ones, no descriptors, no inotify, and spoiled doorbells.

All of it beside a load that nobody kills, which is counted to the last message at the end.
"""

from __future__ import annotations

import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial

from raven import BusClient, RavenError
from raven_rpc import Client
from scripts.harness.program import Program, descriptors
from scripts.harness.served import Served
from scripts.stress import report
from scripts.stress.processes import exit_in_transaction
from scripts.stress.processes.damaged_doorbells import SpoiledBells
from scripts.stress.processes.sigstop import Stops
from scripts.stress.processes.traffic import Crew
from scripts.stress.trial import Round

# How long a round should take at least; a long one is of many.
_ROUND_S = 20.0
_PATIENCE_S = 120.0
_DEATHS = ("sys.exit", "os._exit", "exception", "kill", "abort", "sigterm", "thread", "atexit")


def run(round: Round) -> None:
    """Let all of it happen at once for some seconds, then count."""
    db = str(round.folder / "bus.db")
    socket = str(round.folder / "s")
    seconds = min(round.seconds, _ROUND_S)
    longest_s = 1.0 if seconds < _ROUND_S else round.random.choice((2.0, 4.0, 10.0))
    end_at = time.monotonic() + seconds
    with ExitStack() as stack:
        crew = stack.enter_context(Crew(round, db))
        helper = stack.enter_context(Served(db, socket))
        beside = [stack.enter_context(program) for program in _beside(round, db, socket, seconds)]
        with SpoiledBells(round, db) as bells, Stops(round, db, crew, helper.pid, socket, longest_s) as stops:
            if sys.platform == "linux":
                hoarder = stack.enter_context(
                    Program("stress.processes.use_up_inotify", db, "hearer:hoard", greets=True)
                )
                _use_up_inotify(round, db, hoarder)
            while True:
                for turn in _turns(round, db, socket, helper.pid, bells, stops, is_short=seconds < _ROUND_S):
                    turn()
                if time.monotonic() > end_at:
                    break
        for program in beside:
            report.add_to_round(round, program.line(_PATIENCE_S))
        crew.settle()


def _turns(
    round: Round, db: str, socket: str, helper: int, bells: SpoiledBells, stops: Stops, *, is_short: bool
) -> list[Callable[[], None]]:
    """Return what is done one after another, in an order left to chance: all of it, or some of each kind."""
    kinds: list[tuple[int, list[Callable[[], None]]]] = [
        (5, [partial(bells.spoil, way) for way in bells.ways]),
        (1, [partial(_die, round, db, way) for way in _DEATHS]),
        (len(stops.ways), list(stops.ways.values())),
        (1, [partial(_starve_helper, round, helper, socket)]),
    ]
    turns = [turn for few, kind in kinds for turn in (round.random.sample(kind, few) if is_short else kind)]
    round.random.shuffle(turns)
    return turns


def _beside(round: Round, db: str, socket: str, seconds: float) -> Iterator[Program]:
    """Start those who fork, run out of descriptors, and are cancelled, over the file and over the socket."""
    for name, address, *between in (
        ("forking", "forked:s"),
        ("no_descriptors", "starved:s"),
        ("cancel_process", "cancelled:s", ""),
        ("cancel_process", "socket-cancelled:s", socket),
    ):
        seed = str(round.random.randrange(1_000_000))
        own = [db, between[0], seed, f"{seconds / 2}", address] if between else [db, address, seed, f"{seconds / 2}"]
        yield Program(f"stress.processes.{name}", *own)


def _die(round: Round, db: str, way: str) -> None:
    """Let a process end in mid-transaction: nothing of it is there, and nobody waits for its lock."""
    with BusClient.at("boss:dying", db, busy_timeout_s=30) as bus:
        bus.execute(exit_in_transaction.TABLE)
        job = bus.send(f"dying-{way}:s", "job")
        with Program("stress.processes.exit_in_transaction", db, "heir:dying", way, greets=True) as program:
            if way in ("kill", "thread"):
                program.signal(signal.SIGKILL)
            program.wait()
        began = time.monotonic()
        bus.send("nobody:dying", "note")
        took = time.monotonic() - began
        round.expect(took < 10, f"after a death by {way} a send took {took:.1f} s")
        [receipt] = bus.receipts(job.id)
        round.expect(receipt.state == "sent" and receipt.attempts == 0, f"a death by {way} has left {receipt}")
        round.expect(not bus.execute("SELECT * FROM dying_rows"), f"a death by {way} has left a row")
        bus.execute("DELETE FROM dying_rows")
        with BusClient.at(f"dying-{way}:s", db, register=False, busy_timeout_s=30) as heir:
            for msg in heir.claim(max=100):
                heir.ack(msg.id)
    round.count("exits in a transaction")


def _use_up_inotify(round: Round, db: str, hoarder: Program) -> None:
    """Use up the instances of inotify: all goes on, the doctor says so, and is content once they are given back."""
    hoarder.tell("hoard")
    instances = int(hoarder.line())
    round.expect(instances > 0, "there should be instances of inotify to use up")
    hoarder.tell("doctor")
    told = hoarder.line()
    round.expect(told == "warn", f"the doctor finds inotify {told!r} where its instances are used up")
    hoarder.tell("listen")
    for line in ("ready", "listening"):
        round.expect(hoarder.line() == line, f"the listener without inotify should be {line}")
    with BusClient.at("boss:hoard", db, busy_timeout_s=30) as bus:
        bus.send("hearer:hoard", "note", "own")
        round.expect(hoarder.line() == "own", "who listens without inotify should hear")
    hoarder.tell("give back")
    hoarder.line()
    hoarder.tell("doctor")
    told = hoarder.line()
    round.expect(told == "ok", f"the doctor finds inotify {told!r} when its instances are given back")
    round.count("inotify instances used up", instances)


def _starve_helper(round: Round, pid: int, socket: str) -> None:
    """Take the helper its descriptors: who is connected is served, who comes is as soon as there are some again."""
    if not hasattr(resource, "prlimit") or not descriptors(pid):
        return
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    with Client(socket, "caller:starve", timeout_s=20) as connected:
        connected.send("nobody:starve", "note")
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (descriptors(pid), before[1]))
        try:
            with suppress(RavenError), Client(socket, "newcomer:starve", timeout_s=0.2, patience_s=0.2) as newcomer:
                newcomer.send("nobody:starve", "note")
            connected.send("nobody:starve", "note")
        finally:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        connected.send("nobody:starve", "note")
    with Client(socket, "newcomer:starve", timeout_s=20, patience_s=20) as newcomer:
        newcomer.send("nobody:starve", "note")
    round.count("times the server had no descriptors")
