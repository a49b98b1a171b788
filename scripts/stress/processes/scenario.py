"""Processes: forks, threads, cancelled tasks, SIGSTOP, no descriptors, no inotify, and damaged doorbells.

Other processes send and receive meanwhile, and the trial checks their history at the end.
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
from scripts.stress.processes.damaged_doorbells import DamagedDoorbells
from scripts.stress.processes.sigstop import Sigstops
from scripts.stress.processes.traffic import Traffic
from scripts.stress.trial import Round

# The longest round; a longer trial has several.
_ROUND_S = 20.0
_TIMEOUT_S = 120.0
_ENDS = ("sys.exit", "os._exit", "exception", "kill", "abort", "sigterm", "thread", "atexit")


def run(round: Round) -> None:
    """Run all parts at once for some seconds, then check the traffic."""
    db = str(round.folder / "bus.db")
    socket = str(round.folder / "s")
    seconds = min(round.seconds, _ROUND_S)
    longest_s = 1.0 if seconds < _ROUND_S else round.random.choice((2.0, 4.0, 10.0))
    end_at = time.monotonic() + seconds
    with ExitStack() as stack:
        traffic = stack.enter_context(Traffic(round, db))
        server = stack.enter_context(Served(db, socket))
        background = [stack.enter_context(program) for program in _background_programs(round, db, socket, seconds)]
        with (
            DamagedDoorbells(round, db) as doorbells,
            Sigstops(round, db, traffic, server.pid, socket, longest_s) as sigstops,
        ):
            if sys.platform == "linux":
                inotify_user = stack.enter_context(
                    Program("stress.processes.use_up_inotify", db, "listener:inotify", greets=True)
                )
                _use_up_inotify(round, db, inotify_user)
            while True:
                for step in _steps(round, db, socket, server.pid, doorbells, sigstops, is_short=seconds < _ROUND_S):
                    step()
                if time.monotonic() > end_at:
                    break
        for program in background:
            report.add_to_round(round, program.line(_TIMEOUT_S))
        traffic.stop_and_check()


def _steps(
    round: Round, db: str, socket: str, server: int, doorbells: DamagedDoorbells, sigstops: Sigstops, *, is_short: bool
) -> list[Callable[[], None]]:
    """Return the steps in random order: all of them, or a sample of each kind in a short round."""
    kinds: list[tuple[int, list[Callable[[], None]]]] = [
        (5, [partial(doorbells.damage, way) for way in doorbells.cases]),
        (1, [partial(_exit_in_transaction, round, db, way) for way in _ENDS]),
        (len(sigstops.cases), list(sigstops.cases.values())),
        (1, [partial(_take_server_descriptors, round, server, socket)]),
    ]
    steps = [step for few, kind in kinds for step in (round.random.sample(kind, few) if is_short else kind)]
    round.random.shuffle(steps)
    return steps


def _background_programs(round: Round, db: str, socket: str, seconds: float) -> Iterator[Program]:
    """Start the processes that fork, run out of descriptors, and cancel, over the file and over the socket."""
    for name, address, *between in (
        ("forking", "forked:s"),
        ("no_descriptors", "no-descriptors:s"),
        ("cancel_process", "cancelled:s", ""),
        ("cancel_process", "socket-cancelled:s", socket),
    ):
        seed = str(round.random.randrange(1_000_000))
        own = [db, between[0], seed, f"{seconds / 2}", address] if between else [db, address, seed, f"{seconds / 2}"]
        yield Program(f"stress.processes.{name}", *own)


def _exit_in_transaction(round: Round, db: str, way: str) -> None:
    """Let a process end in a transaction: its changes must be undone, and its lock released."""
    with BusClient.at("sender:exits", db, busy_timeout_s=30) as bus:
        bus.execute(exit_in_transaction.TABLE)
        job = bus.send(f"exiting-{way}:s", "job")
        with Program("stress.processes.exit_in_transaction", db, "reader:exits", way, greets=True) as program:
            if way in ("kill", "thread"):
                program.signal(signal.SIGKILL)
            program.wait()
        began = time.monotonic()
        bus.send("unread:exits", "note")
        took = time.monotonic() - began
        round.expect(took < 10, f"after an exit by {way} a send took {took:.1f} s")
        [receipt] = bus.receipts(job.id)
        round.expect(receipt.state == "sent" and receipt.attempts == 0, f"an exit by {way} has left {receipt}")
        round.expect(not bus.execute("SELECT * FROM exit_rows"), f"an exit by {way} has left a row")
        bus.execute("DELETE FROM exit_rows")
        with BusClient.at(f"exiting-{way}:s", db, register=False, busy_timeout_s=30) as reader:
            for msg in reader.claim(max=100):
                reader.ack(msg.id)
    round.count("exits in a transaction")


def _use_up_inotify(round: Round, db: str, inotify_user: Program) -> None:
    """Use up inotify: subscribers must still receive, and the doctor must warn until the instances are released."""
    inotify_user.tell("use up")
    instances = int(inotify_user.line())
    round.expect(instances > 0, "there should be inotify instances to use up")
    inotify_user.tell("doctor")
    verdict = inotify_user.line()
    round.expect(verdict == "warn", f"the doctor says {verdict!r} while all inotify instances are used up")
    inotify_user.tell("listen")
    for line in ("ready", "listening"):
        round.expect(inotify_user.line() == line, f"the listener without inotify should be {line}")
    with BusClient.at("sender:inotify", db, busy_timeout_s=30) as bus:
        bus.send("listener:inotify", "note", "own")
        round.expect(inotify_user.line() == "own", "a subscriber without inotify should receive")
    inotify_user.tell("release")
    inotify_user.line()
    inotify_user.tell("doctor")
    verdict = inotify_user.line()
    round.expect(verdict == "ok", f"the doctor says {verdict!r} after the inotify instances were released")
    round.count("inotify instances used up", instances)


def _take_server_descriptors(round: Round, pid: int, socket: str) -> None:
    """Use up the server's descriptors: connected clients are served, and new ones as soon as there are some again."""
    if not hasattr(resource, "prlimit") or not descriptors(pid):
        return
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    with Client(socket, "caller:descriptors", timeout_s=20) as connected:
        connected.send("unread:descriptors", "note")
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (descriptors(pid), before[1]))
        try:
            with (
                suppress(RavenError),
                Client(socket, "newcomer:descriptors", timeout_s=0.2, connect_timeout_s=0.2) as newcomer,
            ):
                newcomer.send("unread:descriptors", "note")
            connected.send("unread:descriptors", "note")
        finally:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        connected.send("unread:descriptors", "note")
    with Client(socket, "newcomer:descriptors", timeout_s=20, connect_timeout_s=20) as newcomer:
        newcomer.send("unread:descriptors", "note")
    round.count("times the server had no descriptors")
