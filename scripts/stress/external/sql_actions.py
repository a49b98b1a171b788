"""Hands: what programs that are not raven do to a bus that is in use, and to the files of one that is not.

Each is run by the `sqlite3` program where that is there, else by Python's own `sqlite3`, always in a process of its
own: the copy of SQLite in either may be an old one.
"""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from raven import BusObserver
from raven.store.checkpoint import WAL_SIZE_LIMIT
from raven_rpc import Client
from scripts.harness.program import Program
from scripts.stress.external.traffic import Correspondence
from scripts.stress.trial import Round

_PATIENCE_MS = 60_000
_TIMEOUT_S = 120
_ANSWERS_WITHIN_S = 5.0
_SHRINKS_WITHIN_S = 60.0
_OWN = (
    "CREATE TABLE IF NOT EXISTS ledger (message INTEGER PRIMARY KEY, type TEXT)",
    "CREATE INDEX IF NOT EXISTS ledger_index ON messages (type, sender)",
    "CREATE TRIGGER IF NOT EXISTS ledger_trigger AFTER INSERT ON messages BEGIN"
    " INSERT OR REPLACE INTO ledger VALUES (new.id, new.type); DELETE FROM ledger WHERE message < new.id - 50; END",
)
_ROWS = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
INSERT INTO outbox (sender, recipient, type, body) SELECT 'hand:f', 'hand:f', 'hand', json_array(i) FROM n
"""

Hand = Callable[[Round, Correspondence], None]
Rest = Callable[[Round, str], str]


def run(db: str, *commands: str) -> str:
    """Run SQL and commands of the `sqlite3` program at a bus, and return what it prints; CalledProcessError."""
    if shutil.which("sqlite3"):
        program = ["sqlite3", "-bail", db, f".timeout {_PATIENCE_MS}", *commands]
    else:
        program = [sys.executable, "-m", "scripts.stress.external.plain_sqlite", db, *commands]
    return subprocess.run(program, check=True, capture_output=True, text=True, timeout=_TIMEOUT_S).stdout.strip()


def _statement(*commands: str) -> Hand:
    def do(round: Round, load: Correspondence) -> None:
        run(load.db, *commands)

    return do


def send_rows(round: Round, load: Correspondence) -> None:
    """Send some messages in one statement."""
    count = round.random.randint(1, 40)
    run(load.db, _ROWS.format(count=count))
    round.count("rows inserted by SQL", count)


def refuse_another_journal(round: Round, load: Correspondence) -> None:
    """Ask for another journal while all are there: SQLite must refuse it."""
    try:
        mode = run(load.db, ".timeout 100", "PRAGMA journal_mode = DELETE")
    except subprocess.CalledProcessError as error:
        mode = error.stderr
    round.expect("locked" in mode or mode == "wal", f"no other journal while the bus is in use: {mode}")


def copy(round: Round, load: Correspondence) -> None:
    """Take a backup, and see that it holds all that was there before.

    Not by `.backup`: that of the `sqlite3` program begins anew at each commit of another, and comes to no end.
    """
    with BusObserver(load.db) as bus:
        newest = bus.last_id()
    path = str(round.folder / f"copy-{round.random.getrandbits(48)}.db")
    run(load.db, f"VACUUM INTO '{path}'")
    with BusObserver(path) as bus:
        ids = [message.id for message in bus.tail(follow=False)]
    round.expect(
        ids == [*range(1, len(ids) + 1)] and len(ids) >= newest, f"a backup has all {newest}, and not {len(ids)}"
    )
    round.expect(run(path, "PRAGMA integrity_check") == "ok", "a backup is sound")
    os.unlink(path)


def pin(round: Round, load: Correspondence) -> None:
    """Read for long in one transaction, so that the WAL cannot be written back, and see that it shrinks after."""
    seconds = min(10.0, max(0.5, round.seconds / 12))
    with Program("stress.external.plain_sqlite", load.db, "--hold", "BEGIN", "SELECT count(*) FROM log") as holder:
        holder.line()
        time.sleep(seconds)
        load.expect_progress("a long reader")
        round.expect(not holder.has_ended, "the long reader is still there")
    deadline = time.monotonic() + _SHRINKS_WITHIN_S
    while (size := os.stat(f"{load.db}-wal").st_size) > WAL_SIZE_LIMIT:
        if time.monotonic() > deadline:
            round.report("broken", f"the WAL still has {size:,} bytes long after a long reader has gone")
            return
        time.sleep(0.05)


def lock(round: Round, load: Correspondence) -> None:
    """Hold the write lock, with messages in the open transaction; the helper answers all the while."""
    seconds = min(10.0, max(0.6, round.seconds / 12))
    with Program("stress.external.plain_sqlite", load.db, "--hold", "BEGIN IMMEDIATE", _ROWS.format(count=3)) as holder:
        holder.line()
        until = time.monotonic() + seconds
        with Client(f"{load.db}.sock") as client:
            while (began := time.monotonic()) < until:
                client.last_id()
                took = time.monotonic() - began
                round.expect(took < _ANSWERS_WITHIN_S, f"the helper answers in {took:.1f} s while the file is locked")
                time.sleep(0.02)
        if round.random.random() < 0.5:
            holder.tell("COMMIT")
            holder.line()
    round.count("seconds of external locks", math.ceil(seconds))


LIVE: dict[str, Hand] = {
    "rows": send_rows,
    "VACUUM": _statement("VACUUM"),
    "REINDEX": _statement("REINDEX"),
    "ANALYZE": _statement("ANALYZE", "PRAGMA optimize"),
    "TRUNCATE": _statement("PRAGMA wal_checkpoint(TRUNCATE)"),
    "RESTART": _statement("PRAGMA wal_checkpoint(RESTART)"),
    "FULL": _statement("PRAGMA wal_checkpoint(FULL)"),
    "PASSIVE": _statement("PRAGMA wal_checkpoint(PASSIVE)"),
    "autocheckpoint": _statement(
        "PRAGMA wal_autocheckpoint = 1", "CREATE TABLE IF NOT EXISTS own (x)", "INSERT INTO own VALUES (1)"
    ),
    "incremental": _statement("PRAGMA incremental_vacuum"),
    "own tables": _statement(*_OWN),
    "other journal": refuse_another_journal,
    "copy": copy,
    "long reader": pin,
    "long lock": lock,
}


def other_journal(round: Round, db: str) -> str:
    """Leave the file in another mode."""
    run(db, f"PRAGMA journal_mode = {round.random.choice(('DELETE', 'TRUNCATE', 'PERSIST'))}")
    return db


def other_pages(round: Round, db: str) -> str:
    """Make the file anew with other pages."""
    pages, vacuum = round.random.choice((1024, 8192, 65536)), round.random.choice(("NONE", "FULL", "INCREMENTAL"))
    run(db, "PRAGMA journal_mode = DELETE", f"PRAGMA page_size = {pages}", f"PRAGMA auto_vacuum = {vacuum}", "VACUUM")
    return db


def no_leftovers(round: Round, db: str) -> str:
    """Delete what stands beside the file of a bus that was closed."""
    for end in ("-wal", "-shm"):
        Path(db + end).unlink(missing_ok=True)
    if round.random.random() < 0.5:
        shutil.rmtree(f"{db}-bells", ignore_errors=True)
    return db


def no_shm(round: Round, db: str) -> str:
    """Delete the shared memory of a bus whose processes were killed."""
    Path(f"{db}-shm").unlink(missing_ok=True)
    return db


def moved(round: Round, db: str) -> str:
    """Move the bus to another folder."""
    folder = Path(db).parent / f"moved-{round.random.getrandbits(32)}"
    folder.mkdir()
    for end in ("", "-wal", "-shm"):
        if os.path.exists(db + end):
            shutil.move(db + end, folder)
    return str(folder / os.path.basename(db))


def put_back(round: Round, db: str) -> str:
    """Take a backup, and put it in the place of the file that it was taken of."""
    run(db, f".backup {db}.copy")
    for end in ("-wal", "-shm"):
        Path(db + end).unlink(missing_ok=True)
    os.replace(f"{db}.copy", db)
    return db


def linked(round: Round, db: str) -> str:
    """Give the bus another name, by a link, under which it is used from now on."""
    link = Path(db).parent / f"link-{round.random.getrandbits(32)}.db"
    link.symlink_to(db)
    return str(link)


AT_REST: dict[str, Rest] = {
    "other journal": other_journal,
    "other pages": other_pages,
    "nothing beside it": no_leftovers,
    "moved": moved,
    "put back": put_back,
    "linked": linked,
}
AFTER_A_KILL: dict[str, Rest] = {"no shm": no_shm, "moved": moved}
