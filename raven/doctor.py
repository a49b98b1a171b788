"""Doctor: is this bus healthy, and if not, what to do about it."""

from __future__ import annotations

import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Literal, NamedTuple

from raven import clock, filesystem, statements, walwatch
from raven.config import Config
from raven.connection import sqlite_version
from raven.doorbell import Doorbells
from raven.errors import BusyError, RavenError
from raven.store import Store

Verdict = Literal["ok", "warn", "fail"]
_MIB = 1024 * 1024
_LOW_DISK = 200 * _MIB
_NO_DISK = 10 * _MIB
_BIG_WAL = 64 * _MIB
_EVENT_DEADLINE_S = 2.0


class Check(NamedTuple):
    """One finding: what was looked at, how it is, in words, and what to do where it is not ok."""

    name: str
    verdict: Verdict
    found: str
    remedy: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON shape."""
        return self._asdict()


def examine(config: Config) -> Iterator[Check]:
    """Examine the bus that `config` names, one check after the other; changes nothing in it."""
    yield Check("bus", "ok", f"{config.db}, from {config.db_source}")
    yield _check_sqlite(sqlite_version())
    folder = os.path.dirname(os.path.realpath(config.db))
    yield _check_filesystem(folder)
    try:
        store = Store(config.db, busy_timeout_s=config.busy_timeout_s, create=False)
    except RavenError as error:
        yield Check("file", "fail", str(error), "make a bus with `raven init`, or name another with --db or RAVEN_DB")
        return
    doorbells = Doorbells(store.path)
    checks: dict[str, Callable[[], Check]] = {
        "file": lambda: _check_file(store),
        "permissions": lambda: _check_permissions(store.path),
        "schema": lambda: _check_schema(store),
        "integrity": lambda: _check_integrity(store),
        "journal": lambda: _check_journal(store),
        "disk": lambda: _check_disk(folder),
        "doorbells": lambda: _check_doorbells(doorbells),
        "inotify": lambda: _check_inotify(folder),
        "backlog": lambda: _check_backlog(store, doorbells),
        "dead letters": lambda: _check_dead_letters(store),
    }
    try:
        for name, check in checks.items():
            try:
                yield check()
            except RavenError as error:
                yield Check(name, "fail", str(error), "stop all users of the file, keep a copy of it, restore a backup")
    finally:
        store.close()


def _check_sqlite(version: tuple[int, ...]) -> Check:
    """Look for the WAL-reset defect: SQLite 3.7.0 to 3.51.2, mended in 3.51.3, 3.50.7 and 3.44.6.

    Source: https://sqlite.org/wal.html, section on the WAL-reset bug.
    """
    mended = version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)
    text = ".".join(map(str, version))
    if mended:
        return Check("sqlite", "ok", f"SQLite {text}, free of the WAL-reset defect")
    return Check("sqlite", "fail", f"SQLite {text} can corrupt a WAL file with several writers", "pip install -U apsw")


def _check_filesystem(folder: str) -> Check:
    kind = filesystem.filesystem_type(folder)
    if filesystem.is_network(kind):
        return Check(
            "file system", "fail", f"{kind} is shared among hosts; WAL does not work there", "use a local disk"
        )
    if kind == "unknown":
        return Check("file system", "warn", "cannot be told", "make sure that it is a local disk")
    return Check("file system", "ok", f"{kind}, local")


def _check_file(store: Store) -> Check:
    try:
        with store.write():
            pass
    except BusyError as error:
        return Check("file", "warn", str(error), "find the program with `lsof` or `fuser`, and let it commit")
    except RavenError as error:
        return Check("file", "fail", str(error), "mend the permissions of the file and of its folder")
    if not os.access(os.path.dirname(store.path), os.W_OK):
        return Check("file", "fail", "its folder cannot be written", "allow this user to write the folder")
    return Check("file", "ok", f"writable, {os.stat(store.path).st_size / _MIB:.1f} MiB")


def _check_permissions(path: str) -> Check:
    mode = stat.S_IMODE(os.stat(path).st_mode)
    if mode & 0o077:
        return Check("permissions", "warn", f"mode {mode:04o}: other users can reach it", f"chmod 600 {path}")
    return Check("permissions", "ok", f"mode {mode:04o}, this user's alone")


def _check_schema(store: Store) -> Check:
    version, known = int(store.pragma("user_version")), len(statements.migrations())
    # Opening the store has migrated an older file and refused a newer one.
    return Check("schema", "ok", f"version {version} of {known}")


def _check_integrity(store: Store) -> Check:
    answer = store.pragma("integrity_check")
    if answer == "ok":
        return Check("integrity", "ok", "every page and index is sound")
    return Check(
        "integrity", "fail", answer[:300], "stop all users, keep a copy, restore a backup or try `sqlite3 .recover`"
    )


def _check_journal(store: Store) -> Check:
    mode = store.pragma("journal_mode")
    if mode != "wal":
        return Check(
            "journal", "fail", f"mode {mode}, not wal", "run PRAGMA journal_mode=WAL when nobody uses the file"
        )
    size = 0
    with suppress(OSError):
        size = os.stat(f"{store.path}-wal").st_size
    if size > _BIG_WAL:
        return Check(
            "journal", "warn", f"the WAL has {size / _MIB:.0f} MiB", "end the reader that keeps it from shrinking"
        )
    return Check("journal", "ok", f"WAL, {size / _MIB:.1f} MiB")


def _check_disk(folder: str) -> Check:
    space = os.statvfs(folder)
    free = space.f_bavail * space.f_frsize
    found = f"{free / _MIB:,.0f} MiB free"
    if free < _NO_DISK:
        return Check("disk", "fail", found, "free some room; sends fail without it")
    return Check("disk", "warn" if free < _LOW_DISK else "ok", found, "free some room" if free < _LOW_DISK else "")


def _check_doorbells(doorbells: Doorbells) -> Check:
    address = f"doctor:{os.getpid()}"
    try:
        bell = doorbells.hang(address)
    except OSError as error:
        where = error.filename or doorbells.folder
        return Check(
            "doorbells",
            "warn",
            f"no FIFO can be made at {where} ({error.strerror}): subscribers look every 100 ms instead",
            f"make {doorbells.folder} a folder that this user can write, on a file system that has FIFOs",
        )
    try:
        doorbells.ring([address])
        if bell.wait(1.0):
            return Check("doorbells", "ok", f"a ring was heard in {doorbells.folder}")
        return Check("doorbells", "warn", "a ring was not heard", "put the bus on another file system")
    finally:
        bell.close()


def _check_inotify(folder: str) -> Check:
    """See whether a write in a new folder beside the bus is noticed, as foreign writes to the bus must be."""
    try:
        with tempfile.TemporaryDirectory(prefix=".raven-doctor-", dir=folder) as place:
            started = time.monotonic()
            heard = walwatch.probe(place, _EVENT_DEADLINE_S)
    except OSError as error:
        return Check(
            "inotify",
            "warn",
            f"no watch can be set ({error}): writers without raven are heard within 100 ms instead",
            "raise fs.inotify.max_user_instances, or end programs that watch many files",
        )
    if not heard:
        return Check(
            "inotify", "warn", "a write was not noticed: it may take 1 s until one is heard", "use a local disk"
        )
    return Check("inotify", "ok", f"a write was noticed after {(time.monotonic() - started) * 1000:.0f} ms")


def _check_backlog(store: Store, doorbells: Doorbells) -> Check:
    now = clock.now()
    stuck = []
    for recipient, count, oldest in store.rows("backlog", {"now": now}):
        if not doorbells.count_waiting(recipient):
            rows = store.rows("message_whole", {"message_id": oldest})
            age = (now - rows[0][11]) / 1e6 if rows else 0
            stuck.append(f"{recipient} ({count}, oldest {age:.0f} s)")
    if not stuck:
        return Check("backlog", "ok", "no mail waits where nobody does")
    shown = ", ".join(stuck[:5]) + (f" and {len(stuck) - 5} more" if len(stuck) > 5 else "")
    return Check(
        "backlog", "warn", f"mail for nobody who waits now: {shown}", "start those agents, or see `raven inbox -r`"
    )


def _check_dead_letters(store: Store) -> Check:
    count = store.value("count_dead")
    if not count:
        return Check("dead letters", "ok", "none")
    return Check(
        "dead letters",
        "warn",
        f"{count} deliveries died after their last attempt",
        "see `raven dead`, then `raven requeue` or `raven dead --purge`",
    )
