"""Place: where a bus or a socket lies, and who else could put something in its stead."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from contextlib import suppress

from raven.doctor.report import Check, Finding, command, conclude
from raven.store import filesystem

_MOMENT_S = 0.05


def check_filesystem(folder: str) -> Check:
    """Look at which file system it is."""
    kind = filesystem.filesystem_type(folder)
    if filesystem.is_network(kind):
        return Check(
            "file system", "fail", f"{kind} is shared among hosts; WAL does not work there", "use a local disk"
        )
    if kind == "unknown":
        return Check("file system", "warn", "cannot be told", "make sure that it is a local disk")
    return Check("file system", "ok", f"{kind}, local")


def check_permissions(path: str) -> Check:
    """Look at who can reach the file, who can put another in its place, and whether it has another name."""
    mode = stat.S_IMODE(os.stat(path).st_mode)
    findings = list(intruders(path))
    if mode & 0o077:
        findings.append(Finding("warn", f"mode {mode:04o}: other users can reach it", _chmod("600", path)))
    else:
        findings.extend(_open_beside(path))
    names = _count_names(path)
    if names > 1:
        findings.append(
            Finding(
                "warn",
                f"the file has {names} names (hard links): who opens it by another has another WAL, which corrupts it",
                f"find the others with {command('find', _mount_point(path), '-xdev', '-samefile', path)}, remove them",
            )
        )
    for beside in (f"{path}-wal", f"{path}-shm"):
        kind = kind_of(beside)
        if kind not in ("", "a file"):
            findings.append(
                Finding("fail", f"{beside} is {kind}", f"{command('rm', beside)}, when nobody uses the bus")
            )
    return conclude("permissions", findings, f"mode {mode:04o}, this user's alone")


def intruders(path: str) -> Iterator[Finding]:
    """Find the folders and links on the way to `path` by which others could put something else there."""
    folder = os.path.dirname(os.path.abspath(path))
    while True:
        try:
            status = os.lstat(folder)
        except OSError:
            return
        mode = stat.S_IMODE(status.st_mode)
        if stat.S_ISLNK(status.st_mode):
            if status.st_uid not in (0, os.geteuid()):
                yield Finding(
                    "warn", f"{folder} is a link of user {status.st_uid}, who can lead it elsewhere",
                    f"use the path behind it: {os.path.realpath(folder)}",
                )  # fmt: skip
        elif mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            yield Finding("warn", f"anybody can replace what is in {folder} (mode {mode:04o})", _chmod("o-w", folder))
        above = os.path.dirname(folder)
        if above == folder:
            return
        folder = above


def refusal(path: str) -> str:
    """Say in words what keeps this user from using the file at `path`; empty where nothing that can be seen does."""
    folder = os.path.dirname(path)
    for place in _ways(folder):
        if os.path.isdir(place) and not os.access(place, os.X_OK):
            return f"{_owned(place)} and lets user {os.geteuid()} not in"
    if _is_read_only(folder):
        return f"the file system of {folder} is mounted read-only"
    for beside in (path, f"{path}-wal", f"{path}-shm"):
        if not os.path.exists(beside):
            continue
        for right, word in ((os.R_OK, "read"), (os.W_OK, "write")):
            if not os.access(beside, right):
                return f"{_owned(beside)}, which user {os.geteuid()} may not {word}"
    if os.path.isdir(folder) and not os.access(folder, os.W_OK):
        return f"{_owned(folder)}, in which user {os.geteuid()} may make no file"
    return ""


def remedy_of_refusal(path: str) -> str:
    """Say how to let this user use the file at `path`."""
    if _is_read_only(os.path.dirname(path)):
        return "mount it for writing, or move the bus to another disk while nobody uses it"
    return f"mend that with chmod or chown (as its owner, or root), or run raven as user {_owner(path)}"


def kind_of(path: str) -> str:
    """Say in words what stands at a path, itself and not what a link leads to; empty where nothing does."""
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return ""
    kinds = {
        stat.S_IFREG: "a file",
        stat.S_IFDIR: "a folder",
        stat.S_IFLNK: "a symlink",
        stat.S_IFIFO: "a FIFO",
        stat.S_IFSOCK: "a socket",
    }
    return kinds.get(stat.S_IFMT(mode), "a device")


def _open_beside(path: str) -> Iterator[Finding]:
    """Find a WAL or an index of it that others can reach: they have the mode that the file had when they were made."""
    for beside in (f"{path}-wal", f"{path}-shm"):
        if kind_of(beside) != "a file":
            continue
        with suppress(FileNotFoundError):  # the last user of the bus takes them away
            mode = stat.S_IMODE(os.lstat(beside).st_mode)
            if mode & 0o077:
                found = f"{beside} has mode {mode:04o}: other users can reach what is in it"
                yield Finding("warn", found, _chmod("600", beside))


def _ways(folder: str) -> list[str]:
    """Return the folders on the way to one, from the root on, itself the last."""
    above = os.path.dirname(folder)
    return [folder] if above == folder else [*_ways(above), folder]


def _owned(path: str) -> str:
    status = os.stat(path)
    return f"{path} is user {status.st_uid}'s with mode {stat.S_IMODE(status.st_mode):04o}"


def _owner(path: str) -> int:
    """Return the user whose file it is, or whose folder where the file cannot be seen."""
    for place in (path, *reversed(_ways(os.path.dirname(path)))):
        try:
            return os.stat(place).st_uid
        except OSError:
            continue
    return 0


def _is_read_only(folder: str) -> bool:
    try:
        return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def _mount_point(path: str) -> str:
    while not os.path.ismount(path):
        path = os.path.dirname(path)
    return path


def _count_names(path: str) -> int:
    """Return how many names a file has; a file that is just being made has two for a moment."""
    if os.stat(path).st_nlink > 1:
        time.sleep(_MOMENT_S)
    return os.stat(path).st_nlink


def _chmod(mode: str, path: str) -> str:
    # As one would type it.
    return command("chmod", mode, path).strip("`")
