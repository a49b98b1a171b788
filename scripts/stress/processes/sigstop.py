"""Stops: processes that are stopped, with all that they hold, and go on later."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from raven import BusClient, BusyError
from raven.doctor.linux import proc
from raven.wake.watcher import LOCK_NAME
from raven_rpc import Client
from scripts.harness.program import Program
from scripts.stress.processes.traffic import Crew
from scripts.stress.trial import Round

_POLL_S = 0.5
_PATIENCE_S = 20.0
_BUSY_S = 0.3


class Stops:
    """Stops one after another, and looks that nobody else is held up and nothing is done twice."""

    def __init__(self, round: Round, db: str, crew: Crew, helper_pid: int, socket: str, longest_s: float) -> None:
        self._round = round
        self._db = db
        self._crew = crew
        self._helper_pid = helper_pid
        self._socket = socket
        self._longest_s = longest_s
        self._number = 0
        self._stack = ExitStack()
        self._bus = self._stack.enter_context(BusClient.at("boss:stops", db, busy_timeout_s=_PATIENCE_S))
        self._hasty = self._stack.enter_context(BusClient.at("hasty:stops", db, busy_timeout_s=_BUSY_S))
        self._stranger = self._program("stranger")
        self._probes = [self._program(f"probe-{number}:stops") for number in range(2)]
        for probe in self._probes:
            probe.tell(f"listen {_POLL_S}")
            probe.line()
        self.ways: dict[str, Callable[[], None]] = {
            "load": self.one_of_the_load,
            "claim": self.in_mid_claim,
            "transaction": self.in_mid_transaction,
            "watch": self.the_watch,
            "helper": self.the_helper,
        }

    def __enter__(self) -> Stops:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def one_of_the_load(self) -> None:
        """Stop somebody who sends or receives, for longer or shorter than his lease."""
        member = self._round.random.choice(self._crew.members())
        with self._stopped(member.pid):
            time.sleep(self._round.random.random() * self._longest_s)

    def in_mid_claim(self) -> None:
        """Stop one who has claimed; his lease ends, another has it, and his ack is refused."""
        self._number += 1
        lease_s = self._longest_s / 2
        address = f"claimer-{self._number}:stops"
        first, second = self._program(address, lease_s), self._program(address, 60)
        id = self._bus.send(address, "job").id
        first.tell("claim")
        self._expect(first.line(), f"{id} 1", "the first claim")
        with self._stopped(first.pid):
            answer = ""
            give_up_at = time.monotonic() + _PATIENCE_S
            while not answer.startswith(f"{id} ") and time.monotonic() < give_up_at:
                second.tell("claim")
                answer = second.line()
                time.sleep(0.02)
            self._expect(answer, f"{id} 2", "what another claims once the lease has ended")
        first.tell("ack")
        self._expect(first.line(), "LeaseLostError", "the ack of one who was stopped for longer than his lease")
        second.tell("ack")
        self._expect(second.line(), "acked", "the ack of the other")
        first.end()
        second.end()

    def in_mid_transaction(self) -> None:
        """Stop one who holds the write lock; the others are told so in time, can read, and go on after."""
        writer = self._program("writer:stops")
        writer.tell("begin")
        if writer.line() != "begun":
            return
        with self._stopped(writer.pid):
            began = time.monotonic()
            try:
                self._hasty.send("nobody:stops", "note")
                self._round.report("broken", "a send while a stopped process holds the lock did not raise BusyError")
            except BusyError:
                took = time.monotonic() - began
                self._round.expect(took < _BUSY_S + 5, f"BusyError came after {took:.1f} s and not {_BUSY_S:g}")
            self._hasty.inbox(peek=True)
        writer.tell("commit")
        self._expect(writer.line(), "committed", "the commit of one who was stopped in his transaction")
        self._bus.send("nobody:stops", "note")
        writer.end()

    def the_watch(self) -> None:
        """Stop the process that watches for all; what a stranger writes is heard by the ticks."""
        pid = watcher(self._db)
        listening = [number for number, probe in enumerate(self._probes) if probe.pid != pid]
        if pid is None or pid == os.getpid():
            return
        with self._stopped_between_writes(pid):
            for number in listening:
                self._number += 1
                began = time.monotonic()
                self._stranger.tell(f"send probe-{number}:stops {self._number}")
                self._expect(self._stranger.line(), "sent", "a foreign send")
                self._expect(self._probes[number].line(_PATIENCE_S), str(self._number), "what a stranger sent")
                took = time.monotonic() - began
                self._round.expect(took < _POLL_S + 5, f"a stranger was heard after {took:.1f} s, not {_POLL_S:g}")
        self._round.count("WAL watchers stopped")

    def the_helper(self) -> None:
        """Stop the helper: who uses the file is not held up, who asks over the socket is answered afterwards."""
        answers: list[object] = []
        with Client(self._socket, "caller:stops", timeout_s=_PATIENCE_S) as client:
            client.send("nobody:stops", "note")
            with self._stopped_between_writes(self._helper_pid):
                thread = threading.Thread(target=lambda: answers.append(client.send("nobody:stops", "note").id))
                thread.start()
                self._bus.send("nobody:stops", "note")
                time.sleep(self._longest_s / 4)
            thread.join(_PATIENCE_S)
        self._round.expect(len(answers) == 1, "a call to a helper that was stopped for a while should be answered")

    @contextmanager
    def _stopped(self, pid: int) -> Iterator[None]:
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)
            self._round.count("processes stopped")

    @contextmanager
    def _stopped_between_writes(self, pid: int) -> Iterator[None]:
        """Stop a process that writes by itself while another has the lock, since it would keep that while stopped."""
        with ExitStack() as stack:
            with self._bus.transaction():
                stack.enter_context(self._stopped(pid))
                give_up_at = time.monotonic() + _PATIENCE_S
                while proc.is_there() and not proc.is_stopped(pid) and time.monotonic() < give_up_at:
                    time.sleep(0.001)
            yield

    def _program(self, address: str, lease_s: float = 30) -> Program:
        program = Program("stress.processes.step_by_step", self._db, address, str(lease_s), greets=True)
        return self._stack.enter_context(program)

    def _expect(self, found: object, wanted: object, what: str) -> None:
        self._round.expect(found == wanted, f"{what} should be {wanted!r}, and is {found!r}")


def watcher(db: str) -> int | None:
    """Return the process that holds the election of the watch, see proc(5); None where nobody does or none can tell."""
    try:
        inode = str(os.stat(f"{db}-bells/{LOCK_NAME}").st_ino)
        rows = [line.split() for line in Path("/proc/locks").read_text(encoding="utf-8").splitlines()]
    except OSError:
        return None
    pids = (int(row[4]) for row in rows if row[1] == "FLOCK" and row[5].rpartition(":")[2] == inode)
    return next((pid for pid in pids if pid > 0), None)
