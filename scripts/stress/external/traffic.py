"""Traffic: the processes that send and receive over one bus, their journals, and checks of their progress."""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from raven import BusClient, BusObserver
from scripts.harness.program import Program
from scripts.stress.external.traffic_process import ADDRESSES
from scripts.stress.history.call_recorder import EFFECTS
from scripts.stress.history.journal import Journal
from scripts.stress.trial import Round

# By group, the threads of one process. No process may have two copies of SQLite at one file.
_RAVEN_GROUPS = {
    "senders": ("long_timeout", "short_timeout"),
    "receivers": ("auto", "manual"),
    "socket": ("socket_sender", "socket_receiver"),
}
_EXTERNAL_GROUPS = {"external": ("outbox", "reader")}
_TIMEOUT_S = 60.0
_TAIL_BYTES = 8192


class Traffic:
    """The processes of one bus, which run inside `with`, and their journals in `folder`.

    With `external` some of them are clients of another SQLite, which do not notice that a file was replaced.
    """

    def __init__(self, round: Round, db: str, folder: Path, name: str, *, external: bool = True) -> None:
        self._round = round
        self.db = db
        self.folder = folder
        self._name = name
        self._groups = {**_RAVEN_GROUPS, **(_EXTERNAL_GROUPS if external else {})}
        self._programs: dict[str, Program] = {}
        self._journal = Journal(folder, f"{name}-parent")
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with BusClient.at("setup:senders", self.db) as bus:
            bus.register(*ADDRESSES.values())
            bus.execute(EFFECTS)
        try:
            self._server = self._stack.enter_context(Program("stress.external.server", self.db, greets=True))
            for group, parts in self._groups.items():
                arguments = (self.db, str(self.folder), f"{self._name}-{group}", *parts)
                program = Program("stress.external.traffic_process", *arguments)
                self._record(group, "began")
                self._programs[group] = self._stack.enter_context(program)
            for program in self._programs.values():
                program.line()
            self.expect_progress("the start")
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def expect_progress(self, after: str) -> None:
        """Wait until every thread has sent, received or read again, so that the last action stopped none."""
        since = time.monotonic()
        behind = {f"{self._name}-{group}.{part}" for group, parts in self._groups.items() for part in parts}
        while behind := {process for process in behind if self._last_action_at(process) < since}:
            if time.monotonic() > since + _TIMEOUT_S:
                self._round.report("broken", f"no progress after {after}: {sorted(behind)}")
                return
            time.sleep(0.02)

    def stop(self, *, drain: bool = True) -> None:
        """End the senders, then the receivers, then the server; `drain` waits for the receivers to take all."""
        for program in self._programs.values():
            program.tell("stop sending")
        for program in self._programs.values():
            program.line(2 * _TIMEOUT_S)
        if drain:
            self._drain()
        for group, program in self._programs.items():
            program.tell("stop")
            code = program.wait(3 * _TIMEOUT_S)
            self._record(group, "ended", code=code)
            self._round.expect(code == 0, f"{self._name}-{group} should end with 0, and ended with {code}")
        self._server.tell("stop")
        self._round.expect(self._server.wait(_TIMEOUT_S) == 0, "the server should end with 0")

    def kill(self) -> None:
        """Kill all processes with -9 at once."""
        for program in (*self._programs.values(), self._server):
            program.end()
            self._round.count("kills")
        for group in self._programs:
            self._record(group, "ended", code=-signal.SIGKILL)

    def _record(self, group: str, type: str, **fields: int) -> None:
        """Record the start or the end of a process, for each of its threads."""
        for part in self._groups[group]:
            self._journal.write(type, process=f"{self._name}-{group}.{part}", **fields)

    def _drain(self) -> None:
        deadline, ours = time.monotonic() + _TIMEOUT_S, set(ADDRESSES.values())
        with BusObserver(self.db) as bus:
            while pending := {
                peer.address: peer.pending for peer in bus.peers() if peer.pending and peer.address in ours
            }:
                if time.monotonic() > deadline:
                    self._round.report("lost", f"{pending} were sent and not received within {_TIMEOUT_S:g} s")
                    return
                time.sleep(0.05)

    def _last_action_at(self, process: str) -> float:
        """Return the time at which a process last sent, received or read."""
        with suppress(FileNotFoundError), open(self.folder / f"{process}.jsonl", "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            for line in reversed(file.read().split(b"\n")[1:-1]):
                at, _, type, _ = json.loads(line)
                if type in ("sent", "received", "looked"):
                    return float(at)
        return 0.0
