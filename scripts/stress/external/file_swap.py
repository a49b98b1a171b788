"""Replacement: a bus that is in use is deleted, restored from a backup, or another file takes its place."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from scripts.stress.external import accounting, sql_actions
from scripts.stress.external.traffic import Correspondence
from scripts.stress.history.collect import left_in
from scripts.stress.history.journal import read
from scripts.stress.trial import Round

_NOTICED_WITHIN_S = 30.0
_ENDS = ("", "-wal", "-shm")
# What is there is moved aside, and the other way round: the file itself goes first and comes last, so that nobody who
# opens the bus meanwhile finds it without its WAL.
_BACK = tuple(reversed(_ENDS))

Replace = Callable[[str, str], None]


def run(round: Round) -> None:
    """Replace the file of a running load in every way, and see that all notice it and go on with what is there."""
    folder = round.folder / "replaced"
    folder.mkdir()
    db, journals = str(folder / "bus.db"), folder / "journals"
    spans: list[tuple[float, float]] = []
    ways = list(_WAYS.items()) * (1 if round.seconds < 20 else 3)
    round.random.shuffle(ways)
    with Correspondence(round, db, journals, "r0", strangers=False) as load:
        for number, (name, replace) in enumerate(ways):
            began = time.monotonic()
            copy = str(folder / f"backup-{number}.db")
            sql_actions.run(db, f"VACUUM INTO '{copy}'")
            replace(db, copy)
            spans.append((began, time.monotonic()))
            load.expect_progress(name)
            round.count("replaced files")
            _take_away(round, load)
        load.stop()
    round.expect(sql_actions.run(db, "PRAGMA integrity_check") == "ok", "a bus that was replaced is sound")
    for verdict in accounting.verdicts(left_in(db, journals, "senders"), spans):
        round.report(verdict.kind, f"replaced: {verdict.what}")


def _restore_into(db: str, copy: str) -> None:
    """Restore a backup into the bus, as the README tells to."""
    sql_actions.run(db, f".restore {copy}")


def _put_in_place(db: str, copy: str) -> None:
    """Put a backup in the place of the file, with the WAL that was beside it out of the way."""
    for end in _ENDS:
        os.rename(db + end, f"{copy}-old{end}")
    os.rename(copy, db)


def _move_over(db: str, copy: str) -> None:
    """Move a backup over the file, and leave the WAL where it is."""
    os.replace(copy, db)


_WAYS: dict[str, Replace] = {
    "a backup restored into it": _restore_into,
    "a backup put in its place": _put_in_place,
    "a backup moved over it": _move_over,
}


def _take_away(round: Round, load: Correspondence) -> None:
    """Take the file away, wait until every sender is told so, and bring it back."""
    since = time.monotonic()
    os.rename(load.db, f"{load.db}.away")
    behind = {event.life for event in read(load.folder) if event.what == "sending"}
    while behind := behind - _told_missing(load, since):
        if time.monotonic() > since + _NOTICED_WITHIN_S:
            round.report("broken", f"the file is gone, and was not missed by {sorted(behind)}")
            break
        time.sleep(0.05)
    os.rename(f"{load.db}.away", load.db)
    load.expect_progress("the file is back")
    round.count("files removed and restored")


def _told_missing(load: Correspondence, since: float) -> set[str]:
    return {
        event.life
        for event in read(load.folder)
        if event.what == "refused" and event.at > since and event.told["error"].startswith("FileMissingError")
    }
