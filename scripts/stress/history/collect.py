"""Left: what is left of a trial, its journals and its bus, as one history."""

from __future__ import annotations

import json
from pathlib import Path

from scripts.harness.program import Program
from scripts.stress.history.assemble import history_of
from scripts.stress.history.history import History, look_of
from scripts.stress.history.journal import read


def left_in(db: str, journals: Path, session: str) -> History:
    """Return the history of what was sent from a session, by the journals and by the bus.

    The bus is read by another process: this one may have it open by another copy of SQLite.
    """
    with Program("stress.history.dump", db) as look:
        look.tell("look")
        seen = look_of(json.loads(look.line())).of_session(session)
    return history_of(read(journals), seen)
