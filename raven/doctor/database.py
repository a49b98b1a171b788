"""Database: write access, schema, integrity, and readers that block the checkpoint."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

from raven.delivery import change_log
from raven.doctor import permissions
from raven.doctor.linux import locks, proc
from raven.doctor.linux.processes import BusProcess
from raven.doctor.readonly_store import CheckpointState, ReadOnlyStore
from raven.doctor.report import Check, Finding, command, listed, summarize
from raven.errors import (
    BusyError,
    CorruptError,
    FileMissingError,
    NetworkFilesystemError,
    NewerSchemaError,
    NotABusError,
    RavenError,
    ReadOnlyError,
)
from raven.model import clock
from raven.store import sql as sql_package
from raven.store.connection import new_schema
from raven.store.file import find_distrust

_MIB = 1024 * 1024
_WRITER_POLLS = 5
_WRITER_POLL_S = 0.02
_RESTORE = "stop all users of the file, keep a copy of it, and restore a backup or try `sqlite3 .recover`"
_INTEGRITY_S = 2.0
_VIEW_KINDS = frozenset({"view", "trigger"})
# Under the load of many writers raven itself lets the WAL grow to less than half of this.
_LARGE_WAL = 128 * _MIB
_READERS_TIMEOUT_S = 2.0
_READER_POLL_S = 0.025
_CHECKPOINT_INTERVAL_S = 0.25
# A process idle inside a transaction uses no CPU; one that reads again and again does.
_IDLE_TICKS = 5
_END_READER = "end that transaction (COMMIT, or close the cursor), or that program"


def check_access(path: str) -> Check | None:
    """Return the reason why this user cannot write the file, or None.

    Doctor does not open such a file: SQLite would create a WAL beside it with the same mode, and leave it behind.
    """
    if not os.path.isfile(path) or (os.access(path, os.R_OK) and os.access(path, os.W_OK)):
        return None
    problem = f"the bus {path} cannot be used: {permissions.why_not_accessible(path)}"
    return Check("file", "fail", problem, permissions.access_remedy(path))


def check_refused(path: str, error: RavenError, processes: Sequence[BusProcess]) -> Check:
    """Explain why the bus could not be opened, with a remedy."""
    distrust = find_distrust(path)
    if distrust is not None:
        return Check("file", "fail", *distrust)
    if isinstance(error, NewerSchemaError):
        return Check("schema", "fail", str(error), "upgrade raven: `pip install -U raven-bus`, in every program here")
    if isinstance(error, NotABusError):
        remedy = "name the right file with --db or RAVEN_DB; if this was a bus, restore a backup"
        return Check("file", "fail", str(error), remedy)
    if isinstance(error, BusyError):
        return Check("file", "fail", f"{error}{_lock_holders(path)}", _release_lock_hint(path))
    if isinstance(error, CorruptError | NetworkFilesystemError):
        remedy = _RESTORE if isinstance(error, CorruptError) else "move the bus to a local disk"
        return Check("file", "fail", str(error), remedy)
    return _check_missing(path, error, processes)


def check_file(store: ReadOnlyStore) -> Check:
    """Check that the file can be written now."""
    folder = os.path.dirname(store.path)
    findings = []
    try:
        store.write(lambda tx: None)
    except BusyError as error:
        findings.append(Finding("warn", f"{error}{_lock_holders(store.path)}", _release_lock_hint(store.path)))
    except RavenError as error:
        findings.append(_access_finding(store.path, error))
    if not findings and not os.access(folder, os.W_OK):
        problem = f"its folder cannot be written: {permissions.why_not_accessible(store.path)}"
        findings.append(Finding("fail", problem, f"allow this user to write {folder}"))
    return summarize("file", findings, f"writable, {os.stat(store.path).st_size / _MIB:.1f} MiB")


def check_blank(path: str) -> Check:
    """Report that the file exists and is empty."""
    return Check("file", "warn", f"{path} is empty: it becomes a bus when it is first used", "run `raven init`")


def _check_missing(path: str, error: RavenError, processes: Sequence[BusProcess]) -> Check:
    recovery = _recovery_of_deleted(path, processes)
    if recovery:
        return Check("file", "fail", f"{error}; {recovery[0]}", recovery[1])
    if isinstance(error, FileMissingError) and not os.path.lexists(path) and not permissions.why_not_accessible(path):
        return Check("file", "fail", str(error), "make a bus with `raven init`, or name another with --db or RAVEN_DB")
    if isinstance(error, FileMissingError) and os.path.islink(path) and not os.path.exists(path):
        return Check("file", "fail", f"{path} is a symlink to nothing ({os.readlink(path)})", "fix the link")
    return summarize("file", [_access_finding(path, error)], "")


def _access_finding(path: str, error: RavenError) -> Finding:
    reason = permissions.why_not_accessible(path)
    if reason:
        return Finding("fail", f"{error} ({reason})", permissions.access_remedy(path))
    remedy = "see the other checks, or restore a backup"
    if isinstance(error, ReadOnlyError):
        remedy = "fix the permissions of the file and its folder"
    return Finding("fail", str(error), remedy)


def _recovery_of_deleted(path: str, processes: Sequence[BusProcess]) -> tuple[str, str] | None:
    """Return the process that still has the deleted file open, and the commands that save the file."""
    if os.path.lexists(path):
        return None
    for process in processes:
        deleted = {file.suffix: file.descriptor for file in process.files if file.is_deleted}
        if "" in deleted:
            target = f"{path}.saved"
            steps = [
                command("cp", f"/proc/{process.pid}/fd/{deleted[suffix]}", target + suffix)
                for suffix in ("", "-wal")
                if suffix in deleted
            ]
            how = f"save it before that process ends: {' and '.join(steps)}, and then move {target} to {path}"
            return f"{process.label} still has the deleted file open", how
    return None


def _lock_holders(path: str) -> str:
    """Name the processes that held the writer's lock at every sample, as far as /proc shows them."""
    pids = locks.writers(path)
    for _ in range(_WRITER_POLLS):
        time.sleep(_WRITER_POLL_S)
        pids &= locks.writers(path)
    names = [proc.describe(pid) + (", which is stopped" if proc.is_stopped(pid) else "") for pid in sorted(pids)]
    return f"; it is held by {listed(names)}" if names else ""


def _release_lock_hint(path: str) -> str:
    if proc.is_available() and locks.writers(path):
        return "let that program commit, or end it, which rolls back its transaction"
    return f"find the program with {command('fuser', path)} or `lsof`, and let it commit"


def check_schema(store: ReadOnlyStore) -> Check:
    """Compare the schema with a new bus's."""
    version, known = store.version(), len(sql_package.migrations())
    if version < known:
        return Check(
            "schema",
            "warn",
            f"version {version} of {known}: the next raven that uses the bus upgrades it",
            "end the older ravens that use it, and run `raven stats`",
        )
    schema = {(kind, name.lower()): (name, table, sql) for kind, name, table, sql in store.schema() if sql}
    log = ""
    if ("trigger", "delivery_changed") in schema:
        until = clock.isoformat(change_log.until(store)) or "a viewer comes and goes"
        log = f"; each change of a delivery is logged for the event streams, until {until} if no viewer comes"
    return summarize("schema", list(_differences(store, schema)), f"version {version} of {known}{log}")


def check_integrity(store: ReadOnlyStore) -> Check:
    """Check every page and index, within a time limit."""
    answer = store.check_integrity(_INTEGRITY_S)
    if answer == "ok":
        return Check("integrity", "ok", "every page and index is sound")
    if answer is None:
        size = os.stat(store.path).st_size / _MIB
        how = command("sqlite3", store.path, "PRAGMA integrity_check")
        return Check("integrity", "ok", f"{_INTEGRITY_S:g} s were too short for {size:,.0f} MiB: {how} checks all")
    return Check(
        "integrity", "fail", answer[:300], "stop all users, keep a copy, restore a backup or try `sqlite3 .recover`"
    )


def _differences(store: ReadOnlyStore, schema: Mapping[tuple[str, str], tuple[str, str, str]]) -> Iterator[Finding]:
    expected = {(kind, name.lower()): (name, table, sql) for kind, name, table, sql in new_schema() if sql}
    own = {
        (kind, name.lower()): (name, table, sql)
        for kind, name, table, sql in new_schema(with_change_log=True, with_link=True)
        if sql
    }
    tables = {name for kind, name in own if kind in ("table", "view")}
    for (kind, key), (name, _, sql) in expected.items():
        actual = schema.get((kind, key))
        if actual is None:
            yield Finding("fail", f"the {kind} {name} is missing", _recreate_command(store.path, kind, sql))
        elif sql_package.normalized(actual[2]) != sql_package.normalized(sql):
            problem = f"the {kind} {name} differs from raven's own"
            yield Finding("warn", problem, _recreate_command(store.path, kind, sql))
    for (kind, key), (name, table, sql) in schema.items():
        if (kind, key) in own and (kind, key) not in expected:
            if sql_package.normalized(sql) != sql_package.normalized(own[kind, key][2]):
                yield Finding("warn", f"the {kind} {name} differs from raven's own", _remake_hint(key))
            continue
        if (kind, key) not in expected and kind in ("index", "trigger") and table.lower() in tables:
            quoted = name.replace('"', '""')
            yield Finding(
                "warn",
                f"a foreign {kind} {name} is on raven's {table}: it runs with each statement there",
                f'DROP {kind.upper()} "{quoted}", unless you need it',
            )


def _remake_hint(name: str) -> str:
    """Return how to mend an object that only buses with a viewer or a link have."""
    return "start `raven link` anew: it mends it" if name.startswith("link_") else "open the page: the server mends it"


def _recreate_command(path: str, kind: str, definition: str) -> str:
    if kind in _VIEW_KINDS:
        script = os.path.join(os.path.dirname(sql_package.__file__), "views.sql")
        return f"recreate the views while no process uses the bus: {command('sqlite3', path, f'.read {script}')}"
    if kind == "index":
        return f"recreate it while no process uses the bus: {' '.join(definition.split())}"
    return "stop all users of the file, keep a copy of it, and restore a backup"


def check_journal(store: ReadOnlyStore) -> Check:
    """Check the journal mode, the WAL's size, and long readers."""
    mode = store.pragma("journal_mode")
    if mode != "wal":
        return Check(
            "journal",
            "fail",
            f"mode {mode}, not wal: readers and writers wait for each other",
            "end all other programs, then run `raven stats`: raven sets the mode when it is alone",
        )
    findings, busy_readers = _find_readers(store)
    size = store.wal_size()
    if size > _LARGE_WAL:
        problem, remedy = f"the WAL has {size / _MIB:.0f} MiB", ""
        if busy_readers and not findings:
            problem += f", and {_describe_all(busy_readers)} reads or writes without pausing"
            remedy = "let it pause: raven restarts and truncates the WAL in a moment without a reader"
        elif not findings:
            remedy = "no reader blocks it: raven's next writes restart and truncate it"
        findings.append(Finding("warn", problem, remedy))
    unknown = "" if proc.is_available() else "; the processes that use the bus are unknown without /proc"
    return summarize("journal", findings, f"WAL, {size / _MIB:.1f} MiB{unknown}")


def _find_readers(store: ReadOnlyStore) -> tuple[list[Finding], set[int]]:
    """Watch for readers that keep pages in the WAL; return the findings and the processes that read all the time.

    A busy bus has a reader at nearly every moment. But a page that was in the WAL at the first sample reaches the file
    in a pause between two readers, unless one reader stays.
    """
    started = time.monotonic()
    first = last = _checkpoint_state(store)
    reading = locks.readers(store.path)
    writing = locks.writers(store.path)
    ticks = {pid: proc.cpu_ticks(pid) for pid in reading}
    next_checkpoint_at = started + _CHECKPOINT_INTERVAL_S
    while reading - writing or _holds_back(first, last):
        if time.monotonic() > started + _READERS_TIMEOUT_S:
            break
        time.sleep(_READER_POLL_S)
        reading &= locks.readers(store.path)
        writing |= locks.writers(store.path)
        if time.monotonic() >= next_checkpoint_at:
            last = _checkpoint_state(store) or last
            next_checkpoint_at = time.monotonic() + _CHECKPOINT_INTERVAL_S
    else:
        return [], set()
    last = _checkpoint_state(store) or last
    span = time.monotonic() - started
    if _holds_back(first, last):
        kept = last.pages - last.checkpointed if last else 0
        who = _describe_all(reading - writing or reading)
        problem = f"{who} has read for {span:.1f} s and more: {kept:,} pages of the WAL cannot be checkpointed"
        return [Finding("warn", problem, _END_READER)], reading
    idle = {pid for pid in reading - writing if proc.cpu_ticks(pid) - ticks[pid] <= _IDLE_TICKS}
    if idle and first == last:
        problem = f"{_describe_all(idle)} has read for {span:.1f} s and more: the WAL will grow with each write"
        return [Finding("warn", problem, _END_READER)], reading
    return [], reading


def _holds_back(first: CheckpointState | None, last: CheckpointState | None) -> bool:
    """Whether a page that was in the WAL at first is still not in the file; a restarted WAL is shorter."""
    return first is not None and last is not None and last.checkpointed < first.pages <= last.pages


def _checkpoint_state(store: ReadOnlyStore) -> CheckpointState | None:
    with suppress(RavenError):
        return store.run_checkpoint()
    return None


def _describe_all(pids: Iterable[int]) -> str:
    return listed([proc.describe(pid) for pid in sorted(pids)]) or "a program that is not visible from here"
