"""File swap: the file of a bus in use is removed, restored from a backup, or replaced by another file."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from scripts.stress.external import accounting, sql_actions
from scripts.stress.external.traffic import Traffic
from scripts.stress.history.collect import collect_history
from scripts.stress.history.journal import read
from scripts.stress.trial import Round

_NOTICED_WITHIN_S = 30.0
# Rename the file itself first, so that no process opens the bus without its WAL.
_SUFFIXES = ("", "-wal", "-shm")

Replace = Callable[[str, str], None]


def run(round: Round) -> None:
    """Replace the file of a bus in use in every way; all processes must notice it and go on with the new file."""
    folder = round.folder / "replaced"
    folder.mkdir()
    db, journals = str(folder / "bus.db"), folder / "journals"
    spans: list[tuple[float, float]] = []
    methods = list(_METHODS.items()) * (1 if round.seconds < 20 else 3)
    round.random.shuffle(methods)
    with Traffic(round, db, journals, "r0", external=False) as traffic:
        for number, (name, replace) in enumerate(methods):
            began = time.monotonic()
            copy = str(folder / f"backup-{number}.db")
            sql_actions.run(db, f"VACUUM INTO '{copy}'")
            replace(db, copy)
            spans.append((began, time.monotonic()))
            traffic.expect_progress(name)
            round.count("replaced files")
            _remove_and_restore(round, traffic)
        traffic.stop()
    round.expect(sql_actions.run(db, "PRAGMA integrity_check") == "ok", "a replaced bus should be sound")
    for verdict in accounting.verdicts(collect_history(db, journals, "senders"), spans):
        round.report(verdict.kind, f"replaced: {verdict.text}")


def _restore_into(db: str, copy: str) -> None:
    """Restore a backup into the bus, as the documentation says."""
    sql_actions.run(db, f".restore {copy}")


def _swap_all_files(db: str, copy: str) -> None:
    """Move the file and its WAL away, and a backup into their place."""
    for suffix in _SUFFIXES:
        os.rename(db + suffix, f"{copy}-old{suffix}")
    os.rename(copy, db)


def _move_over(db: str, copy: str) -> None:
    """Move a backup over the file, and leave the WAL."""
    os.replace(copy, db)


_METHODS: dict[str, Replace] = {
    "a backup restored into the bus": _restore_into,
    "a backup in the place of the file and its WAL": _swap_all_files,
    "a backup moved over the file": _move_over,
}


def _remove_and_restore(round: Round, traffic: Traffic) -> None:
    """Move the file away until every sender has got an error, and move it back."""
    since = time.monotonic()
    os.rename(traffic.db, f"{traffic.db}.away")
    behind = {event.process for event in read(traffic.folder) if event.type == "sending"}
    while behind := behind - _with_missing_file_error(traffic, since):
        if time.monotonic() > since + _NOTICED_WITHIN_S:
            round.report("broken", f"the file is missing, and these senders got no error: {sorted(behind)}")
            break
        time.sleep(0.05)
    os.rename(f"{traffic.db}.away", traffic.db)
    traffic.expect_progress("the file was moved back")
    round.count("files removed and restored")


def _with_missing_file_error(traffic: Traffic, since: float) -> set[str]:
    return {
        event.process
        for event in read(traffic.folder)
        if event.type == "refused" and event.at > since and event.fields["error"].startswith("FileMissingError")
    }
