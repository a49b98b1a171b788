"""SIGSTOP: processes are stopped with all that they hold, and continued later."""

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
from scripts.stress.processes.traffic import Traffic
from scripts.stress.trial import Round

_POLL_S = 0.5
_TIMEOUT_S = 20.0
_BUSY_S = 0.3


class Sigstops:
    """Stops processes, and checks that no other process is held up and that nothing is done twice."""

    def __init__(self, round: Round, db: str, crew: Traffic, server_pid: int, socket: str, longest_s: float) -> None:
        self._round = round
        self._db = db
        self._traffic = crew
        self._server_pid = server_pid
        self._socket = socket
        self._longest_s = longest_s
        self._number = 0
        self._stack = ExitStack()
        self._bus = self._stack.enter_context(BusClient.at("sender:sigstops", db, busy_timeout_s=_TIMEOUT_S))
        self._short_timeout = self._stack.enter_context(
            BusClient.at("short-timeout:sigstops", db, busy_timeout_s=_BUSY_S)
        )
        self._external = self._program("external")
        self._probes = [self._program(f"probe-{number}:sigstops") for number in range(2)]
        for probe in self._probes:
            probe.tell(f"listen {_POLL_S}")
            probe.line()
        self.cases: dict[str, Callable[[], None]] = {
            "traffic": self.stop_a_traffic_process,
            "claim": self.stop_in_a_claim,
            "transaction": self.stop_in_a_transaction,
            "watcher": self.stop_the_watcher,
            "server": self.stop_the_server,
        }

    def __enter__(self) -> Sigstops:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def stop_a_traffic_process(self) -> None:
        """Stop a process that sends or receives, for longer or shorter than its lease."""
        member = self._round.random.choice(self._traffic.programs())
        with self._stopped(member.pid):
            time.sleep(self._round.random.random() * self._longest_s)

    def stop_in_a_claim(self) -> None:
        """Stop a process that has claimed: its lease expires, another claims the message, and its ack is refused."""
        self._number += 1
        lease_s = self._longest_s / 2
        address = f"claimer-{self._number}:sigstops"
        first, second = self._program(address, lease_s), self._program(address, 60)
        id = self._bus.send(address, "job").id
        first.tell("claim")
        self._expect(first.line(), f"{id} 1", "the first claim")
        with self._stopped(first.pid):
            answer = ""
            deadline = time.monotonic() + _TIMEOUT_S
            while not answer.startswith(f"{id} ") and time.monotonic() < deadline:
                second.tell("claim")
                answer = second.line()
                time.sleep(0.02)
            self._expect(answer, f"{id} 2", "the claim of another process after the lease")
        first.tell("ack")
        self._expect(first.line(), "LeaseLostError", "the ack of a process that was stopped for longer than its lease")
        second.tell("ack")
        self._expect(second.line(), "acked", "the ack of the other process")
        first.end()
        second.end()

    def stop_in_a_transaction(self) -> None:
        """Stop a process that holds the write lock: others get BusyError in time, can read, and go on later."""
        writer = self._program("writer:sigstops")
        writer.tell("begin")
        if writer.line() != "begun":
            return
        with self._stopped(writer.pid):
            began = time.monotonic()
            try:
                self._short_timeout.send("unread:sigstops", "note")
                self._round.report("broken", "a send while a stopped process holds the lock did not raise BusyError")
            except BusyError:
                took = time.monotonic() - began
                self._round.expect(took < _BUSY_S + 5, f"BusyError came after {took:.1f} s and not {_BUSY_S:g}")
            self._short_timeout.inbox(peek=True)
        writer.tell("commit")
        self._expect(writer.line(), "committed", "the commit of a process that was stopped in its transaction")
        self._bus.send("unread:sigstops", "note")
        writer.end()

    def stop_the_watcher(self) -> None:
        """Stop the elected watcher: subscribers get a message of an external writer at their next poll."""
        pid = watcher(self._db)
        listening = [number for number, probe in enumerate(self._probes) if probe.pid != pid]
        if pid is None or pid == os.getpid():
            return
        with self._stopped_between_writes(pid):
            for number in listening:
                self._number += 1
                began = time.monotonic()
                self._external.tell(f"send probe-{number}:sigstops {self._number}")
                self._expect(self._external.line(), "sent", "an external send")
                self._expect(
                    self._probes[number].line(_TIMEOUT_S), str(self._number), "the message of an external writer"
                )
                took = time.monotonic() - began
                self._round.expect(
                    took < _POLL_S + 5, f"the message of an external writer came after {took:.1f} s, not {_POLL_S:g}"
                )
        self._round.count("WAL watchers stopped")

    def stop_the_server(self) -> None:
        """Stop the server: processes at the file go on, and calls over the socket are answered later."""
        answers: list[object] = []
        with Client(self._socket, "caller:sigstops", timeout_s=_TIMEOUT_S) as client:
            client.send("unread:sigstops", "note")
            with self._stopped_between_writes(self._server_pid):
                thread = threading.Thread(target=lambda: answers.append(client.send("unread:sigstops", "note").id))
                thread.start()
                self._bus.send("unread:sigstops", "note")
                time.sleep(self._longest_s / 4)
            thread.join(_TIMEOUT_S)
        self._round.expect(len(answers) == 1, "a call to a server that was stopped for a while should be answered")

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
        """Stop a process while this one holds the write lock, so that the stopped process cannot hold it."""
        with ExitStack() as stack:
            with self._bus.transaction():
                stack.enter_context(self._stopped(pid))
                deadline = time.monotonic() + _TIMEOUT_S
                while proc.is_available() and not proc.is_stopped(pid) and time.monotonic() < deadline:
                    time.sleep(0.001)
            yield

    def _program(self, address: str, lease_s: float = 30) -> Program:
        program = Program("stress.processes.step_by_step", self._db, address, str(lease_s), greets=True)
        return self._stack.enter_context(program)

    def _expect(self, actual: object, expected: object, subject: str) -> None:
        self._round.expect(actual == expected, f"{subject} should be {expected!r}, and is {actual!r}")


def watcher(db: str) -> int | None:
    """Return the pid of the elected watcher, see proc(5); None if there is no watcher, or no /proc."""
    try:
        inode = str(os.stat(f"{db}-bells/{LOCK_NAME}").st_ino)
        rows = [line.split() for line in Path("/proc/locks").read_text(encoding="utf-8").splitlines()]
    except OSError:
        return None
    pids = (int(row[4]) for row in rows if row[1] == "FLOCK" and row[5].rpartition(":")[2] == inode)
    return next((pid for pid in pids if pid > 0), None)
