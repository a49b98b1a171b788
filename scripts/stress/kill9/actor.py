"""Part: what one process of a storm has to play, and its journal."""

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

from scripts.stress.history.call_recorder import Witness
from scripts.stress.history.journal import Journal
from scripts.stress.kill9 import self_kill

# Nobody polls more often than this, so that what is not woken is seen to wait.
POLL_S = 1.0
NEVER_POLLS_S = 60.0
LEASE_S = 1.0
# The helper may be killed a few times as it starts.
PATIENCE_S = 30.0


class Death(NamedTuple):
    """At the nth step of which kind this process is to die, and at which moment of it."""

    of: str
    nth: int
    moment: str


class Part(Witness):
    """One life: its name is `<actor>.<number>`, its chance comes from its seed."""

    def __init__(
        self, life: str, journals: str, db: str, seed: str, death: list[Any] | None, is_calm: bool, role: str = ""
    ) -> None:
        super().__init__(Journal(Path(journals), life))
        self.actor = life.partition(".")[0]
        self.journals = Path(journals)
        self.db = db
        self.socket = f"{db}.sock"
        self.random = random.Random(seed)
        self.role = role
        self.is_calm = is_calm
        self.poll_interval_s = NEVER_POLLS_S if is_calm else POLL_S
        self.death = None if death is None else Death(*death)

    def pause(self, least_s: float, most_s: float) -> None:
        """Do something else for a while."""
        time.sleep(self.random.uniform(least_s, most_s))


def play(act: Callable[[Part], None]) -> None:
    """Play the part that the arguments tell, until its death, its end, or SIGTERM."""
    part = Part(**json.loads(sys.argv[1]))
    armed = self_kill.arm(part.journal, *part.death) if part.death is not None else None
    with suppress(SystemExit, KeyboardInterrupt):
        try:
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
            act(part)
        except Exception:
            part.journal.write("failed", error=traceback.format_exc())
            raise
    del armed
