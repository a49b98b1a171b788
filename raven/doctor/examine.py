"""Doctor: checks a bus, and gives a remedy for each problem.

It changes nothing in the bus: neither its journal mode nor its schema. It tries writes in temporary files beside the
bus. Each check is bounded in time; the other modules of this package hold the checks.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

from raven.config import Config
from raven.doctor.backlog import check_backlog, check_dead_letters, check_size
from raven.doctor.database import (
    check_access,
    check_blank,
    check_file,
    check_integrity,
    check_journal,
    check_refused,
    check_schema,
)
from raven.doctor.doorbells import check_doorbells, list_doorbells
from raven.doctor.host import check_clock, check_disk, check_inotify
from raven.doctor.link import check_link
from raven.doctor.linux.processes import BusProcess, check_processes, list_processes
from raven.doctor.permissions import check_filesystem, check_permissions
from raven.doctor.readonly_store import ReadOnlyStore
from raven.doctor.report import Check, Verdict
from raven.doctor.socket import check_socket
from raven.doctor.subscribers import check_subscribers, check_watch
from raven.errors import BusyError, DiskFullError, RavenError, abbreviate
from raven.files.ownership import distrust_links
from raven.store.connection import sqlite_version
from raven.store.sql import migrations
from raven.wake.doorbell import Doorbells

__all__ = ["Check", "Verdict", "examine"]

# The longest wait for a lock, however long the clients' busy timeout is.
_MAX_BUSY_TIMEOUT_S = 2.0

Checks = dict[str, Callable[[], Check | None]]


def examine(config: Config) -> Iterator[Check]:
    """Examine the bus that `config` names, one check after the other; changes nothing in it.

    A check without a subject (a server that was never started) yields nothing.
    """
    yield Check("bus", "ok", f"{config.db}, from {config.db_source}")
    yield _check_sqlite(sqlite_version())
    if "\0" in config.db:
        yield Check(
            "file",
            "fail",
            f"invalid path {abbreviate(config.db)}: it contains a NUL character",
            "name another with --db or RAVEN_DB",
        )
        return
    distrust = distrust_links(config.db)
    if distrust is not None:
        yield Check("file", "fail", *distrust)
        return
    path = os.path.realpath(config.db)
    folder = os.path.dirname(path)
    yield check_filesystem(folder)
    processes = list_processes(path)
    inaccessible = check_access(path)
    if inaccessible is not None:
        yield inaccessible
        yield from _run(_checks_without_store(path, processes))
        return
    try:
        store = ReadOnlyStore(path, min(config.busy_timeout_s, _MAX_BUSY_TIMEOUT_S))
    except RavenError as error:
        yield check_refused(path, error, processes)
        yield from _run(_checks_without_store(path, processes))
        return
    with closing(store):
        yield from _run(_checks_of_bus(store, config, processes))


def _checks_without_store(path: str, processes: Sequence[BusProcess]) -> Checks:
    """Return the checks that work although the file cannot be opened."""
    if not os.path.isdir(os.path.dirname(path)):
        return {}
    checks: Checks = {"permissions": lambda: check_permissions(path)} if os.path.isfile(path) else {}
    return {
        **checks,
        "disk": lambda: check_disk(path, processes),
        "processes": lambda: check_processes(path, processes),
        "socket": lambda: check_socket(path),
    }


def _checks_of_bus(store: ReadOnlyStore, config: Config, processes: Sequence[BusProcess]) -> Checks:
    path = store.path
    if store.is_blank():
        return {"file": lambda: check_blank(path), **_checks_without_store(path, processes)}
    doorbells = Doorbells(path)
    infos = list_doorbells(doorbells.folder)
    checks: Checks = {
        "file": lambda: check_file(store),
        "permissions": lambda: check_permissions(path),
        "schema": lambda: check_schema(store),
        "integrity": lambda: check_integrity(store),
        "journal": lambda: check_journal(store),
        "disk": lambda: check_disk(path, processes),
        "processes": lambda: check_processes(path, processes),
        "doorbells": lambda: check_doorbells(doorbells, infos, path),
        "watch": lambda: check_watch(path, infos, processes),
        "inotify": lambda: check_inotify(os.path.dirname(path)),
        "socket": lambda: check_socket(path),
    }
    # This raven's statements do not fit an older schema.
    if store.version() == len(migrations()):
        checks |= {
            "clock": lambda: check_clock(store),
            "subscribers": lambda: check_subscribers(store, doorbells, infos, processes),
            "retention": lambda: check_size(store, config.retention),
            "link": lambda: check_link(store),
            "backlog": lambda: check_backlog(store, doorbells),
            "dead letters": lambda: check_dead_letters(store),
        }
    return checks


def _run(checks: Checks) -> Iterator[Check]:
    """Run each check; a check that the fault itself prevents reports that."""
    for name, run_check in checks.items():
        try:
            check = run_check()
        except BusyError as error:
            check = Check(name, "warn", str(error), "end the writer that `file` names, and try again")
        except DiskFullError as error:
            check = Check(name, "fail", str(error), "free some space")
        except RavenError as error:
            check = Check(name, "fail", str(error), "stop all users of the file, keep a copy of it, restore a backup")
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            check = Check(name, "warn", f"the check failed ({where}{error.strerror or error})", "see the other checks")
        if check is not None:
            yield check


def _check_sqlite(version: tuple[int, ...]) -> Check:
    """Look for the WAL-reset defect: SQLite 3.7.0 to 3.51.2, fixed in 3.51.3, 3.50.7 and 3.44.6.

    Source: https://sqlite.org/wal.html, section on the WAL-reset bug.
    """
    is_fixed = version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)
    text = ".".join(map(str, version))
    if is_fixed:
        return Check("sqlite", "ok", f"SQLite {text}, free of the WAL-reset defect")
    return Check("sqlite", "fail", f"SQLite {text} can corrupt a WAL file with several writers", "pip install -U apsw")
