"""Place: where a bus or a socket lies, and who else could put something in its stead."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from contextlib import suppress

from raven.doctor.report import Check, Finding, command, summarize
from raven.store import filesystem

_RECHECK_S = 0.05


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
    findings = list(writable_by_others(path))
    if mode & 0o077:
        findings.append(Finding("warn", f"mode {mode:04o}: other users can reach it", _chmod("600", path)))
    else:
        findings.extend(_exposed_companions(path))
    links = _count_links(path)
    if links > 1:
        findings.append(
            Finding(
                "warn",
                f"the file has {links} names (hard links): who opens it by another has another WAL, which corrupts it",
                f"find the others with {command('find', _mount_point(path), '-xdev', '-samefile', path)}, remove them",
            )
        )
    for companion in (f"{path}-wal", f"{path}-shm"):
        kind = kind_of(companion)
        if kind not in ("", "a file"):
            findings.append(
                Finding("fail", f"{companion} is {kind}", f"{command('rm', companion)}, when nobody uses the bus")
            )
    return summarize("permissions", findings, f"mode {mode:04o}, this user's alone")


def writable_by_others(path: str) -> Iterator[Finding]:
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


def why_not_accessible(path: str) -> str:
    """Say in words what keeps this user from using the file at `path`; empty where nothing that can be seen does."""
    folder = os.path.dirname(path)
    for ancestor in _ancestors(folder):
        if os.path.isdir(ancestor) and not os.access(ancestor, os.X_OK):
            return f"{_describe_owner(ancestor)} and lets user {os.geteuid()} not in"
    if _is_read_only(folder):
        return f"the file system of {folder} is mounted read-only"
    for companion in (path, f"{path}-wal", f"{path}-shm"):
        if not os.path.exists(companion):
            continue
        for right, word in ((os.R_OK, "read"), (os.W_OK, "write")):
            if not os.access(companion, right):
                return f"{_describe_owner(companion)}, which user {os.geteuid()} may not {word}"
    if os.path.isdir(folder) and not os.access(folder, os.W_OK):
        return f"{_describe_owner(folder)}, in which user {os.geteuid()} may make no file"
    return ""


def access_remedy(path: str) -> str:
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


def _exposed_companions(path: str) -> Iterator[Finding]:
    """Find a WAL or an index of it that others can reach: they have the mode that the file had when they were made."""
    for companion in (f"{path}-wal", f"{path}-shm"):
        if kind_of(companion) != "a file":
            continue
        with suppress(FileNotFoundError):  # the last user of the bus takes them away
            mode = stat.S_IMODE(os.lstat(companion).st_mode)
            if mode & 0o077:
                problem = f"{companion} has mode {mode:04o}: other users can reach what is in it"
                yield Finding("warn", problem, _chmod("600", companion))


def _ancestors(folder: str) -> list[str]:
    """Return the folders on the way to one, from the root on, itself the last."""
    above = os.path.dirname(folder)
    return [folder] if above == folder else [*_ancestors(above), folder]


def _describe_owner(path: str) -> str:
    status = os.stat(path)
    return f"{path} is user {status.st_uid}'s with mode {stat.S_IMODE(status.st_mode):04o}"


def _owner(path: str) -> int:
    """Return the user whose file it is, or whose folder where the file cannot be seen."""
    for place in (path, *reversed(_ancestors(os.path.dirname(path)))):
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


def _count_links(path: str) -> int:
    """Return how many names a file has; a file that is just being made has two for a moment."""
    if os.stat(path).st_nlink > 1:
        time.sleep(_RECHECK_S)
    return os.stat(path).st_nlink


def _chmod(mode: str, path: str) -> str:
    # As one would type it.
    return command("chmod", mode, path).strip("`")
