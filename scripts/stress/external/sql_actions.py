"""SQL actions: actions of external programs on a bus in use, and on the files of an idle bus.

The `sqlite3` program runs them if it is installed, else Python's own `sqlite3`, always in a separate process: either
may have an old copy of SQLite.
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
from scripts.stress.external.traffic import Traffic
from scripts.stress.trial import Round

_BUSY_TIMEOUT_MS = 60_000
_TIMEOUT_S = 120
_READS_WITHIN_S = 5.0
_SHRINKS_WITHIN_S = 60.0
_USER_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS own_log (message INTEGER PRIMARY KEY, type TEXT)",
    "CREATE INDEX IF NOT EXISTS own_log_index ON messages (type, sender)",
    "CREATE TRIGGER IF NOT EXISTS own_log_trigger AFTER INSERT ON messages BEGIN"
    " INSERT OR REPLACE INTO own_log VALUES (new.id, new.type); DELETE FROM own_log WHERE message < new.id - 50; END",
)
_ROWS = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
INSERT INTO outbox (sender, recipient, type, body) SELECT 'external:f', 'external:f', 'external', json_array(i) FROM n
"""

Action = Callable[[Round, Traffic], None]
IdleAction = Callable[[Round, str], str]


def run(db: str, *commands: str) -> str:
    """Run SQL and dot commands of the `sqlite3` program, and return the output; raises CalledProcessError."""
    if shutil.which("sqlite3"):
        program = ["sqlite3", "-bail", db, f".timeout {_BUSY_TIMEOUT_MS}", *commands]
    else:
        program = [sys.executable, "-m", "scripts.stress.external.plain_sqlite", db, *commands]
    return subprocess.run(program, check=True, capture_output=True, text=True, timeout=_TIMEOUT_S).stdout.strip()


def _statement(*commands: str) -> Action:
    def do(round: Round, traffic: Traffic) -> None:
        run(traffic.db, *commands)

    return do


def send_rows(round: Round, traffic: Traffic) -> None:
    """Send several messages in one statement."""
    count = round.random.randint(1, 40)
    run(traffic.db, _ROWS.format(count=count))
    round.count("rows inserted by SQL", count)


def refuse_other_journal_mode(round: Round, traffic: Traffic) -> None:
    """Change the journal mode while processes have the bus open: SQLite must refuse it."""
    try:
        mode = run(traffic.db, ".timeout 100", "PRAGMA journal_mode = DELETE")
    except subprocess.CalledProcessError as error:
        mode = error.stderr
    round.expect(
        "locked" in mode or mode == "wal", f"the journal mode should not change while the bus is in use: {mode}"
    )


def back_up(round: Round, traffic: Traffic) -> None:
    """Make a backup, and check that it has all messages that were sent before.

    It uses VACUUM INTO: the `.backup` of the `sqlite3` program starts again at each commit of another process, and
    never ends.
    """
    with BusObserver(traffic.db) as bus:
        newest = bus.last_id()
    path = str(round.folder / f"copy-{round.random.getrandbits(48)}.db")
    run(traffic.db, f"VACUUM INTO '{path}'")
    with BusObserver(path) as bus:
        ids = [message.id for message in bus.tail(follow=False)]
    round.expect(
        ids == [*range(1, len(ids) + 1)] and len(ids) >= newest,
        f"a backup should have all {newest} messages, and has {len(ids)}",
    )
    round.expect(run(path, "PRAGMA integrity_check") == "ok", "a backup should be sound")
    os.unlink(path)


def hold_read_transaction(round: Round, traffic: Traffic) -> None:
    """Hold a read transaction, so that no checkpoint can complete, and check that the WAL shrinks after it."""
    seconds = min(10.0, max(0.5, round.seconds / 12))
    with Program("stress.external.plain_sqlite", traffic.db, "--hold", "BEGIN", "SELECT count(*) FROM log") as holder:
        holder.line()
        time.sleep(seconds)
        traffic.expect_progress("a long read transaction")
        round.expect(not holder.has_ended, "the process with the long read transaction should not end")
    deadline = time.monotonic() + _SHRINKS_WITHIN_S
    while (size := os.stat(f"{traffic.db}-wal").st_size) > WAL_SIZE_LIMIT:
        if time.monotonic() > deadline:
            round.report("broken", f"the WAL still has {size:,} bytes long after the end of a read transaction")
            return
        time.sleep(0.05)


def hold_write_lock(round: Round, traffic: Traffic) -> None:
    """Hold the write lock, with messages in the open transaction; the server must answer reads meanwhile."""
    seconds = min(10.0, max(0.6, round.seconds / 12))
    with Program(
        "stress.external.plain_sqlite", traffic.db, "--hold", "BEGIN IMMEDIATE", _ROWS.format(count=3)
    ) as holder:
        holder.line()
        until = time.monotonic() + seconds
        with Client(f"{traffic.db}.sock") as client:
            while (began := time.monotonic()) < until:
                client.last_id()
                took = time.monotonic() - began
                round.expect(
                    took < _READS_WITHIN_S, f"a read through the server took {took:.1f} s while the file was locked"
                )
                time.sleep(0.02)
        if round.random.random() < 0.5:
            holder.tell("COMMIT")
            holder.line()
    round.count("seconds of external locks", math.ceil(seconds))


LIVE_ACTIONS: dict[str, Action] = {
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
    "user tables": _statement(*_USER_SCHEMA),
    "other journal mode": refuse_other_journal_mode,
    "backup": back_up,
    "long read": hold_read_transaction,
    "long write lock": hold_write_lock,
}


def change_journal_mode(round: Round, db: str) -> str:
    """Change the journal mode."""
    run(db, f"PRAGMA journal_mode = {round.random.choice(('DELETE', 'TRUNCATE', 'PERSIST'))}")
    return db


def change_page_size(round: Round, db: str) -> str:
    """Rebuild the file with another page size."""
    pages, vacuum = round.random.choice((1024, 8192, 65536)), round.random.choice(("NONE", "FULL", "INCREMENTAL"))
    run(db, "PRAGMA journal_mode = DELETE", f"PRAGMA page_size = {pages}", f"PRAGMA auto_vacuum = {vacuum}", "VACUUM")
    return db


def delete_companions(round: Round, db: str) -> str:
    """Delete the companion files of a closed bus."""
    for suffix in ("-wal", "-shm"):
        Path(db + suffix).unlink(missing_ok=True)
    if round.random.random() < 0.5:
        shutil.rmtree(f"{db}-bells", ignore_errors=True)
    return db


def delete_shm(round: Round, db: str) -> str:
    """Delete the shared memory file of a bus whose processes were killed."""
    Path(f"{db}-shm").unlink(missing_ok=True)
    return db


def move(round: Round, db: str) -> str:
    """Move the bus to another folder."""
    folder = Path(db).parent / f"moved-{round.random.getrandbits(32)}"
    folder.mkdir()
    for suffix in ("", "-wal", "-shm"):
        if os.path.exists(db + suffix):
            shutil.move(db + suffix, folder)
    return str(folder / os.path.basename(db))


def replace_by_backup(round: Round, db: str) -> str:
    """Replace the file by a backup of itself."""
    run(db, f".backup {db}.copy")
    for suffix in ("-wal", "-shm"):
        Path(db + suffix).unlink(missing_ok=True)
    os.replace(f"{db}.copy", db)
    return db


def use_by_symlink(round: Round, db: str) -> str:
    """Create a symlink to the bus, and use its path from now on."""
    link = Path(db).parent / f"link-{round.random.getrandbits(32)}.db"
    link.symlink_to(db)
    return str(link)


IDLE_ACTIONS: dict[str, IdleAction] = {
    "other journal mode": change_journal_mode,
    "other page size": change_page_size,
    "companions deleted": delete_companions,
    "moved": move,
    "replaced by a backup": replace_by_backup,
    "opened by a symlink": use_by_symlink,
}
AFTER_KILL_ACTIONS: dict[str, IdleAction] = {"shm deleted": delete_shm, "moved": move}
