"""Bells: the folder of the doorbells, what stands in it, and whether a ring is heard."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import stat
import struct
import sys
import termios
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import unquote

from raven.doctor import permissions
from raven.doctor.report import Check, Finding, command, listed, summarize
from raven.wake.doorbell import ALL_TRAFFIC, Doorbells
from raven.wake.watcher import LOCK_NAME

_RING_TIMEOUT_S = 1.0
_RESTART_SUBSCRIBER = "restart who waits there if it does not hang another by itself within its poll_interval_s"


class DoorbellInfo(NamedTuple):
    """What stands in a bell's place: for whom, whose by its name, with how many unread_rings that nobody has answered.

    `kind` is what it is, be it no FIFO; `is_heard` whether somebody has it open; `is_full` whether it takes no more.
    """

    folder: str
    name: str
    kind: str
    has_reader: bool
    unread_rings: int = 0
    is_full: bool = False

    @property
    def path(self) -> str:
        """Where it is."""
        return os.path.join(self.folder, self.name)

    @property
    def address(self) -> str:
        """The address that its folder stands for (of a very long one a hash)."""
        return unquote(os.path.basename(self.folder))

    @property
    def pid(self) -> int:
        """The process that infos it, by its name; 0 where that tells none."""
        number = self.name.partition("-")[0]
        return int(number) if number.isascii() and number.isdigit() else 0


def list_doorbells(folder: str) -> list[DoorbellInfo]:
    """Return what hangs in the folder of all doorbells; nothing in it is removed, rung or silenced by that."""
    return [
        _inspect(address_folder, name)
        for address_folder in _list_folders(folder)
        for name in _list_names(address_folder)
        if not name.startswith(".")  # one that is just being made
    ]


def check_doorbells(doorbells: Doorbells, infos: Sequence[DoorbellInfo], db_path: str) -> Check:
    """Look at the folder and what is in it, and let one ring be heard."""
    findings = [*_folder_findings(doorbells.folder, infos, db_path), *_foreign_files(infos), *_dead_readers(infos)]
    if not any(one.verdict == "fail" for one in findings):
        findings.extend(_test_ring(doorbells))
    return summarize("doorbells", findings, f"a ring was heard in {doorbells.folder}")


def _folder_findings(folder: str, infos: Sequence[DoorbellInfo], db_path: str) -> Iterator[Finding]:
    kind = permissions.kind_of(folder)
    if kind == "a symlink":
        yield Finding(
            "warn",
            f"{folder} is a symlink to {os.readlink(folder)}: no sender goes there, and subscribers look every 100 ms",
            f"{command('rm', folder)}; it is made anew as a folder",
        )
    if kind != "a folder":
        return
    # Root may do all, but what is root's is closed to the others.
    owners = {os.stat(db_path).st_uid} | ({os.geteuid()} - {0})
    pipes = [bell.path for bell in infos if bell.kind == "a FIFO"]
    for path in (folder, os.path.join(folder, LOCK_NAME), *_list_folders(folder), *pipes):
        status = _status(path)
        if status is None:
            continue
        mode = stat.S_IMODE(status.st_mode)
        if status.st_uid not in owners:
            yield Finding(
                "warn",
                f"{path} is user {status.st_uid}'s, and no other can hang or ring doorbells there",
                f"{command('rm', '-r', path)} as root or as that user; it is made anew",
            )
        elif mode & 0o077:
            mode_wanted = "700" if stat.S_ISDIR(status.st_mode) else "600"
            yield Finding("warn", f"{path} is open to others (mode {mode:04o})", command("chmod", mode_wanted, path))


def _foreign_files(infos: Sequence[DoorbellInfo]) -> Iterator[Finding]:
    for bell in infos:
        if bell.kind != "a FIFO":
            problem = f"{bell.path} is {bell.kind} in the place of a doorbell: who waited there hears nothing"
            remove = command("rm", *(["-r"] if bell.kind == "a folder" else []), bell.path)
            yield Finding("warn", problem, f"{remove}; {_RESTART_SUBSCRIBER}")


def _dead_readers(infos: Sequence[DoorbellInfo]) -> Iterator[Finding]:
    """Find those who died while they waited for mail, where nobody has taken their place."""
    heard = {bell.folder for bell in infos if bell.has_reader}
    dead = [
        bell
        for bell in infos
        if bell.kind == "a FIFO"
        and not bell.has_reader
        and bell.folder not in heard
        and not bell.address.startswith(ALL_TRAFFIC)
    ]
    if dead:
        words = [f"{bell.address} (pid {bell.pid})" for bell in dead]
        yield Finding(
            "warn",
            f"waited and ended without taking the doorbell down: {listed(words)}",
            "start those again that should be there; the next ring removes what they have left",
        )


def _test_ring(doorbells: Doorbells) -> Iterator[Finding]:
    address = f"doctor:{os.getpid()}"
    folder_existed = bool(permissions.kind_of(doorbells.folder))
    try:
        bell = doorbells.create(address)
    except OSError as error:
        where = error.filename or doorbells.folder
        yield Finding(
            "warn",
            f"no FIFO can be made at {where} ({error.strerror}): subscribers look every 100 ms instead",
            f"make {doorbells.folder} a folder that this user can write, on a file system that has FIFOs",
        )
        return
    try:
        doorbells.ring([address])
        if not bell.wait(_RING_TIMEOUT_S):
            yield Finding("warn", "a ring was not heard", "put the bus on another file system")
    finally:
        bell.close()
        # A folder that root has made would be closed to all others.
        if not folder_existed:
            with suppress(OSError):
                os.rmdir(doorbells.folder)


def _inspect(folder: str, name: str) -> DoorbellInfo:
    path = os.path.join(folder, name)
    kind = permissions.kind_of(path)
    if kind != "a FIFO":
        return DoorbellInfo(folder, name, kind or "a FIFO", not kind)
    try:
        # As a sender does that has nothing to say. The reader has a writer of its own, and sees nothing of this.
        pipe = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        return DoorbellInfo(folder, name, kind, error.errno != errno.ENXIO)
    try:
        return DoorbellInfo(folder, name, kind, True, _count_unread_rings(pipe), _is_full(pipe))
    finally:
        os.close(pipe)


def _count_unread_rings(pipe: int) -> int:
    """Return how much lies in a pipe; elsewhere than on Linux only its reader is told."""
    if sys.platform != "linux":
        return 0
    answer = fcntl.ioctl(pipe, termios.FIONREAD, struct.pack("i", 0))
    return int(struct.unpack("i", answer)[0])


def _is_full(pipe: int) -> bool:
    """Whether a pipe takes no more; without select(2), which knows no descriptor above 1023."""
    poller = select.poll()
    poller.register(pipe, select.POLLOUT)
    return not poller.poll(0)


def _list_folders(folder: str) -> list[str]:
    if permissions.kind_of(folder) != "a folder":
        return []
    paths = [os.path.join(folder, name) for name in _list_names(folder)]
    return [path for path in paths if permissions.kind_of(path) == "a folder"]


def _list_names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _status(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except OSError:
        return None
