"""Permissions: the file system of a bus or socket, and the users who could replace it."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from contextlib import suppress

from raven.doctor.report import Check, Finding, command, summarize
from raven.files import ownership, turnstile
from raven.store import filesystem

_RECHECK_S = 0.05


def check_filesystem(folder: str) -> Check:
    """Check the type of the file system."""
    kind = filesystem.filesystem_type(folder)
    if filesystem.is_network(kind):
        return Check(
            "file system", "fail", f"{kind} is shared among hosts; WAL does not work there", "use a local disk"
        )
    if kind == "unknown":
        return Check("file system", "warn", "its type is unknown", "make sure that it is a local disk")
    return Check("file system", "ok", f"{kind}, local")


def check_permissions(path: str) -> Check:
    """Check which users can open or replace the file, and whether it has hard links."""
    mode = stat.S_IMODE(os.stat(path).st_mode)
    findings = list(writable_by_others(path))
    if mode & ownership.closed_bits(private=True):
        findings.append(Finding("warn", f"mode {mode:04o}: other users can open it", _chmod("600", path)))
    else:
        findings.extend(_exposed_companions(path))
    links = _count_links(path)
    if links > 1:
        findings.append(
            Finding(
                "warn",
                f"the file has {links} names (hard links): each name has its own WAL, which corrupts the file",
                f"find the others with {command('find', _mount_point(path), '-xdev', '-samefile', path)}, remove them",
            )
        )
    for companion in (f"{path}-wal", f"{path}-shm"):
        kind = kind_of(companion)
        if kind not in ("", "a file"):
            findings.append(
                Finding("fail", f"{companion} is {kind}", f"{command('rm', companion)}, when no process uses the bus")
            )
    distrust = ownership.distrust_at(f"{path}{turnstile.SUFFIX}", private=True)
    if distrust is not None:
        findings.append(Finding("warn", f"{distrust.problem}: writers do not take turns", distrust.remedy))
    users = "this user and its group" if mode & 0o070 else "only this user"
    return summarize("permissions", findings, f"mode {mode:04o}, {users} can open it")


def writable_by_others(path: str) -> Iterator[Finding]:
    """Find folders and symlinks on the way to `path` that let other users replace the file."""
    folder = os.path.dirname(os.path.abspath(path))
    while True:
        try:
            status = os.lstat(folder)
        except OSError:
            return
        mode = stat.S_IMODE(status.st_mode)
        if stat.S_ISLNK(status.st_mode):
            if not ownership.is_trusted(status.st_uid):
                yield Finding(
                    "warn",
                    f"{folder} is a symlink of {ownership.user_name(status.st_uid)}: that user can change its target",
                    f"use its target: {os.path.realpath(folder)}",
                )  # fmt: skip
        elif not ownership.is_trusted(status.st_uid):
            owner = ownership.user_name(status.st_uid)
            yield Finding(
                "warn", f"{folder} belongs to {owner}: that user can replace files in it", "use a folder of yours"
            )
        elif mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            yield Finding("warn", f"any user can replace files in {folder} (mode {mode:04o})", _chmod("o-w", folder))
        above = os.path.dirname(folder)
        if above == folder:
            return
        folder = above


def why_not_accessible(path: str) -> str:
    """Return why this user cannot use the file at `path`; empty if no reason is visible."""
    folder = os.path.dirname(path)
    for ancestor in _ancestors(folder):
        if os.path.isdir(ancestor) and not os.access(ancestor, os.X_OK):
            return f"{_describe_owner(ancestor)} and denies access to user {os.geteuid()}"
    if _is_read_only(folder):
        return f"the file system of {folder} is mounted read-only"
    for companion in (path, f"{path}-wal", f"{path}-shm"):
        if not os.path.exists(companion):
            continue
        for right, word in ((os.R_OK, "read"), (os.W_OK, "write")):
            if not os.access(companion, right):
                return f"{_describe_owner(companion)}, which user {os.geteuid()} cannot {word}"
    if os.path.isdir(folder) and not os.access(folder, os.W_OK):
        return f"{_describe_owner(folder)}, where user {os.geteuid()} cannot create files"
    return ""


def access_remedy(path: str) -> str:
    """Return how to let this user use the file at `path`."""
    if _is_read_only(os.path.dirname(path)):
        return "mount it for writing, or move the bus to another disk while no process uses it"
    return f"fix that with chmod or chown (as its owner, or root), or run raven as user {_owner(path)}"


def kind_of(path: str) -> str:
    """Return the type of a path in words, without following a symlink; empty if it does not exist."""
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
    """Find a -wal or -shm that other users can open: each has the mode that the file had at its creation."""
    for companion in (f"{path}-wal", f"{path}-shm"):
        if kind_of(companion) != "a file":
            continue
        with suppress(FileNotFoundError):  # the last process that uses the bus removes them
            mode = stat.S_IMODE(os.lstat(companion).st_mode)
            if mode & ownership.closed_bits(private=True):
                problem = f"{companion} has mode {mode:04o}: other users can read it"
                yield Finding("warn", problem, _chmod("600", companion))


def _ancestors(folder: str) -> list[str]:
    """Return the folders from the root to this one, itself the last."""
    above = os.path.dirname(folder)
    return [folder] if above == folder else [*_ancestors(above), folder]


def _describe_owner(path: str) -> str:
    status = os.stat(path)
    return f"{path} is user {status.st_uid}'s with mode {stat.S_IMODE(status.st_mode):04o}"


def _owner(path: str) -> int:
    """Return the owner of the file, or of its folder if the file is not visible."""
    for candidate in (path, *reversed(_ancestors(os.path.dirname(path)))):
        try:
            return os.stat(candidate).st_uid
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
    """Return the number of hard links; a file that is just being created has two for a moment."""
    if os.stat(path).st_nlink > 1:
        time.sleep(_RECHECK_S)
    return os.stat(path).st_nlink


def _chmod(mode: str, path: str) -> str:
    # Without the backticks.
    return command("chmod", mode, path).strip("`")
