"""File: can the bus be opened, read and written, and if not, who or what is in the way."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from raven.doctor import permissions as place
from raven.doctor.linux import locks, proc
from raven.doctor.linux.users import User
from raven.doctor.readonly_store import Specimen
from raven.doctor.report import Check, Finding, command, conclude, listed
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

_MIB = 1024 * 1024
_LOOKS = 5
_NAP_S = 0.02
_RESTORE = "stop all users of the file, keep a copy of it, and restore a backup or try `sqlite3 .recover`"


def check_access(path: str) -> Check | None:
    """Say what keeps this user from writing the file; None where nothing does.

    Such a file is better not opened: SQLite would make a WAL beside it with the same mode, and leave that behind.
    """
    if not os.path.isfile(path) or (os.access(path, os.R_OK) and os.access(path, os.W_OK)):
        return None
    found = f"the bus {path} cannot be used: {place.refusal(path)}"
    return Check("file", "fail", found, place.remedy_of_refusal(path))


def check_refused(path: str, error: RavenError, users: Sequence[User]) -> Check:
    """Say why the bus could not be opened, and what to do."""
    if isinstance(error, NewerSchemaError):
        return Check("schema", "fail", str(error), "upgrade raven: `pip install -U raven-bus`, in every program here")
    if isinstance(error, NotABusError):
        remedy = "name the right file with --db or RAVEN_DB; if this was a bus, restore a backup"
        return Check("file", "fail", str(error), remedy)
    if isinstance(error, BusyError):
        return Check("file", "fail", f"{error}{_holders(path)}", _end_the_writer(path))
    if isinstance(error, CorruptError):
        return Check("file", "fail", str(error), _RESTORE)
    if isinstance(error, NetworkFilesystemError):
        return Check("file", "fail", str(error), "move the bus to a local disk")
    return _check_missing(path, error, users)


def check_file(store: Specimen) -> Check:
    """See whether the file can be written now."""
    folder = os.path.dirname(store.path)
    findings = []
    try:
        with store.write():
            pass
    except BusyError as error:
        findings.append(Finding("warn", f"{error}{_holders(store.path)}", _end_the_writer(store.path)))
    except RavenError as error:
        findings.append(_refused(store.path, error))
    if not findings and not os.access(folder, os.W_OK):
        found = f"its folder cannot be written: {place.refusal(store.path)}"
        findings.append(Finding("fail", found, f"allow this user to write {folder}"))
    return conclude("file", findings, f"writable, {os.stat(store.path).st_size / _MIB:.1f} MiB")


def check_blank(path: str) -> Check:
    """Say that the file is there and has nothing in it."""
    return Check("file", "warn", f"{path} is empty: it becomes a bus when it is first used", "run `raven init`")


def _check_missing(path: str, error: RavenError, users: Sequence[User]) -> Check:
    rescued = _rescue(path, users)
    if rescued:
        return Check("file", "fail", f"{error}; {rescued[0]}", rescued[1])
    if isinstance(error, FileMissingError) and not os.path.lexists(path) and not place.refusal(path):
        return Check("file", "fail", str(error), "make a bus with `raven init`, or name another with --db or RAVEN_DB")
    if isinstance(error, FileMissingError) and os.path.islink(path) and not os.path.exists(path):
        return Check("file", "fail", f"{path} is a symlink to nothing ({os.readlink(path)})", "mend the link")
    return conclude("file", [_refused(path, error)], "")


def _refused(path: str, error: RavenError) -> Finding:
    reason = place.refusal(path)
    if reason:
        return Finding("fail", f"{error} ({reason})", place.remedy_of_refusal(path))
    remedy = "see what the other checks say, or restore a backup"
    if isinstance(error, ReadOnlyError):
        remedy = "mend the permissions of the file and of its folder"
    return Finding("fail", str(error), remedy)


def _rescue(path: str, users: Sequence[User]) -> tuple[str, str] | None:
    """Return who still has the file open that was deleted, and how it is saved."""
    if os.path.lexists(path):
        return None
    for user in users:
        deleted = {file.suffix: file.descriptor for file in user.files if file.is_deleted}
        if "" in deleted:
            target = f"{path}.saved"
            steps = [
                command("cp", f"/proc/{user.pid}/fd/{deleted[suffix]}", target + suffix)
                for suffix in ("", "-wal")
                if suffix in deleted
            ]
            how = f"save it before that ends: {' and '.join(steps)}, and then move {target} to its place"
            return f"{user.words} still has the deleted file open", how
    return None


def _holders(path: str) -> str:
    """Say who has held the writer's lock all the while, as far as that can be told."""
    pids = locks.writers(path)
    for _ in range(_LOOKS):
        time.sleep(_NAP_S)
        pids &= locks.writers(path)
    names = [proc.describe(pid) + (", which is stopped" if proc.is_stopped(pid) else "") for pid in sorted(pids)]
    return f"; it is held by {listed(names)}" if names else ""


def _end_the_writer(path: str) -> str:
    if proc.is_there() and locks.writers(path):
        return "let that program commit, or end it: nothing of its transaction is stored then"
    return f"find the program with {command('fuser', path)} or `lsof`, and let it commit"
