"""Actor: the parameters and the journal of one process of the trial."""

from __future__ import annotations

import json
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from scripts.stress.history.call_recorder import CallRecorder
from scripts.stress.history.journal import Journal
from scripts.stress.kill9 import self_kill

POLL_S = 1.0
# In the drain phase no subscriber polls in time, so that a missed wake-up shows as an undelivered message.
NEVER_POLLS_S = 60.0
LEASE_S = 1.0
# The server may be killed several times while it starts.
CONNECT_TIMEOUT_S = 30.0


class KillPoint(NamedTuple):
    """The step at which a process kills itself: the kind of step, its number, and before, after or halfway."""

    kind: str
    nth: int
    moment: str


class Actor(CallRecorder):
    """One process of an actor. Its name is `<actor>.<number>`, and its random numbers follow from its seed."""

    def __init__(
        self,
        process: str,
        journals: str,
        db: str,
        seed: str,
        kill_point: list[Any] | None,
        is_draining: bool,
        mode: str = "",
    ) -> None:
        super().__init__(Journal(Path(journals), process))
        self.name = process.partition(".")[0]
        self.journals = Path(journals)
        self.db = db
        self.socket = f"{db}.sock"
        self.random = random.Random(seed)
        self.mode = mode
        self.is_draining = is_draining
        self.poll_interval_s = NEVER_POLLS_S if is_draining else POLL_S
        self.kill_point = None if kill_point is None else KillPoint(*kill_point)

    def pause(self, least_s: float, most_s: float) -> None:
        """Sleep for a random time."""
        time.sleep(self.random.uniform(least_s, most_s))


def run_actor(act: Callable[[Actor], None]) -> None:
    """Run the actor given by the command line, until its kill point, its end, or SIGTERM."""
    actor = Actor(**json.loads(sys.argv[1]))
    armed = self_kill.arm(actor.journal, *actor.kill_point) if actor.kill_point is not None else None
    with suppress(SystemExit, KeyboardInterrupt):
        try:
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
            act(actor)
        except Exception:
            actor.journal.write("failed", error=traceback.format_exc())
            raise
    del armed
