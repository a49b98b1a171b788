"""Collect: the journals and the bus of a trial, read into one history."""

from __future__ import annotations

import json
from pathlib import Path

from scripts.harness.program import Program
from scripts.stress.history.assemble import history_of
from scripts.stress.history.history import History, dump_of
from scripts.stress.history.journal import read


def collect_history(db: str, journals: Path, session: str) -> History:
    """Return the history of all messages that a session sent, from the journals and the bus.

    A separate process reads the bus: this one may have it open with another copy of SQLite.
    """
    with Program("stress.history.dump", db) as dump:
        dump.tell("dump")
        contents = dump_of(json.loads(dump.line())).of_session(session)
    return history_of(read(journals), contents)
