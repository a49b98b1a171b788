"""Correspondence: processes that send and receive over one bus, and what came of all that they have sent."""

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

# No process may have two copies of SQLite at one file.
_RAVENS = {"writers": ("patient", "impatient"), "takers": ("auto", "manual"), "callers": ("speaker", "listener")}
_STRANGERS = {"strangers": ("outbox", "reader")}
_DEADLINE_S = 60.0
_TAIL = 8192


class Correspondence:
    """The processes of one bus, and their journals in `folder`; entered they run, left they are no more.

    With `strangers` there are clients of another SQLite among them, which know nothing of a file that was replaced.
    """

    def __init__(self, round: Round, db: str, folder: Path, name: str, *, strangers: bool = True) -> None:
        self._round = round
        self.db = db
        self.folder = folder
        self._name = name
        self._groups = {**_RAVENS, **(_STRANGERS if strangers else {})}
        self._programs: dict[str, Program] = {}
        self._journal = Journal(folder, f"{name}-conductor")
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with BusClient.at("founder:senders", self.db) as bus:
            bus.register(*ADDRESSES.values())
            bus.execute(EFFECTS)
        try:
            self._helper = self._stack.enter_context(Program("stress.external.server", self.db, greets=True))
            for group, parts in self._groups.items():
                arguments = (self.db, str(self.folder), f"{self._name}-{group}", *parts)
                program = Program("stress.external.traffic_process", *arguments)
                self._tell_of(group, "began")
                self._programs[group] = self._stack.enter_context(program)
            for program in self._programs.values():
                program.line()
            self.expect_progress("they begin")
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def expect_progress(self, after: str) -> None:
        """Wait until every part has sent, received or looked once more: nobody has been stopped by what was done."""
        since = time.monotonic()
        behind = {f"{self._name}-{group}.{part}" for group, parts in self._groups.items() for part in parts}
        while behind := {life for life in behind if self._done_at(life) < since}:
            if time.monotonic() > since + _DEADLINE_S:
                self._round.report("broken", f"after this they did nothing any more: {after}: {sorted(behind)}")
                return
            time.sleep(0.02)

    def stop(self, *, is_drained: bool = True) -> None:
        """Let the senders end, then the receivers, once all was taken where `is_drained` says so, then the helper."""
        for program in self._programs.values():
            program.tell("hush")
        for program in self._programs.values():
            program.line(2 * _DEADLINE_S)
        if is_drained:
            self._drain()
        for group, program in self._programs.items():
            program.tell("over")
            code = program.wait(3 * _DEADLINE_S)
            self._tell_of(group, "ended", code=code)
            self._round.expect(code == 0, f"{self._name}-{group} ends well, and not with {code}")
        self._helper.tell("over")
        self._round.expect(self._helper.wait(_DEADLINE_S) == 0, "the helper ends well")

    def kill(self) -> None:
        """Kill all with -9 at once."""
        for program in (*self._programs.values(), self._helper):
            program.end()
            self._round.count("kills")
        for group in self._programs:
            self._tell_of(group, "ended", code=-signal.SIGKILL)

    def _tell_of(self, group: str, what: str, **told: int) -> None:
        """Write down that the lives of a process began or ended."""
        for part in self._groups[group]:
            self._journal.write(what, life=f"{self._name}-{group}.{part}", **told)

    def _drain(self) -> None:
        deadline, ours = time.monotonic() + _DEADLINE_S, set(ADDRESSES.values())
        with BusObserver(self.db) as bus:
            while left := {peer.address: peer.pending for peer in bus.peers() if peer.pending and peer.address in ours}:
                if time.monotonic() > deadline:
                    self._round.report("lost", f"{left} was sent and not taken within {_DEADLINE_S:g} s")
                    return
                time.sleep(0.05)

    def _done_at(self, life: str) -> float:
        """Return when a part has last sent, received or looked."""
        with suppress(FileNotFoundError), open(self.folder / f"{life}.jsonl", "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL))
            for line in reversed(file.read().split(b"\n")[1:-1]):
                at, _, what, _ = json.loads(line)
                if what in ("sent", "received", "looked"):
                    return float(at)
        return 0.0
