"""Doorbells: the folder, the files in it, and a test ring."""

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
from raven.wake.doorbell import ALL_TRAFFIC, ANY_RECEIPT, DOORS, Doorbells
from raven.wake.fifo import DOOR_PREFIX, SESSIONS, is_door, is_unattended
from raven.wake.watcher import LOCK_NAME

_RING_TIMEOUT_S = 1.0
_RESTART_SUBSCRIBER = "restart its subscriber if it does not create another within a second"


class DoorbellInfo(NamedTuple):
    """A file in an address's doorbell folder: its address, its process (by the name), its unread rings.

    `kind` is the file's type, also if it is no FIFO; `has_reader`: a process has its read end open; `is_full`: the pipe
    takes no more.
    """

    folder: str
    name: str
    kind: str
    has_reader: bool
    unread_rings: int = 0
    is_full: bool = False

    @property
    def path(self) -> str:
        """The path of the file."""
        return os.path.join(self.folder, self.name)

    @property
    def address(self) -> str:
        """The address of its folder (a hash for a very long address)."""
        return unquote(os.path.basename(self.folder))

    @property
    def pid(self) -> int:
        """The process that created it, by the file's name; 0 if the name has no pid."""
        number = self.name.removeprefix(DOOR_PREFIX).partition("-")[0]
        return int(number) if number.isascii() and number.isdigit() else 0

    @property
    def is_relays(self) -> bool:
        """Whether it belongs to a relay, not to a subscriber: a door, or the doorbell of all receipts."""
        return is_door(self.path) or self.address in (DOORS, ANY_RECEIPT)

    @property
    def has_subscriber(self) -> bool:
        """Whether a subscriber on this host has its read end open."""
        return self.has_reader and not self.is_relays

    @property
    def leads_to_a_subscriber(self) -> bool:
        """Whether a subscriber has its read end open, or waits behind the door on another host."""
        return self.has_reader and not is_unattended(self.path)


def list_doorbells(folder: str) -> list[DoorbellInfo]:
    """Return the files in the folders of all doorbells, without removing, ringing or draining any."""
    return [
        _inspect(address_folder, name)
        for address_folder in _list_folders(folder)
        if os.path.basename(address_folder) != SESSIONS
        for name in _list_names(address_folder)
        if not name.startswith(".")  # a doorbell that is just being created
    ]


def check_doorbells(doorbells: Doorbells, infos: Sequence[DoorbellInfo], db_path: str) -> Check:
    """Check the folder and its files, and try one ring."""
    findings = [*_folder_findings(doorbells.folder, infos, db_path), *_foreign_files(infos), *_dead_readers(infos)]
    if not any(one.verdict == "fail" for one in findings):
        findings.extend(_test_ring(doorbells))
    return summarize("doorbells", findings, f"a ring was heard in {doorbells.folder}")


def _folder_findings(folder: str, infos: Sequence[DoorbellInfo], db_path: str) -> Iterator[Finding]:
    kind = permissions.kind_of(folder)
    if kind == "a symlink":
        yield Finding(
            "warn",
            f"{folder} is a symlink to {os.readlink(folder)}: no sender follows it, and subscribers poll every 100 ms",
            f"{command('rm', folder)}; raven recreates it as a folder",
        )
    if kind != "a folder":
        return
    # Root can access all files, but root's files are closed to other users.
    owners = {os.stat(db_path).st_uid} | ({os.geteuid()} - {0})
    pipes = [info.path for info in infos if info.kind == "a FIFO"]
    for path in (folder, os.path.join(folder, LOCK_NAME), *_list_folders(folder), *pipes):
        status = _status(path)
        if status is None:
            continue
        mode = stat.S_IMODE(status.st_mode)
        if status.st_uid not in owners:
            yield Finding(
                "warn",
                f"{path} is user {status.st_uid}'s, and no other user can create or ring doorbells there",
                f"{command('rm', '-r', path)} as root or as that user; raven recreates it",
            )
        elif mode & 0o077:
            mode_wanted = "700" if stat.S_ISDIR(status.st_mode) else "600"
            yield Finding("warn", f"{path} is open to others (mode {mode:04o})", command("chmod", mode_wanted, path))


def _foreign_files(infos: Sequence[DoorbellInfo]) -> Iterator[Finding]:
    for info in infos:
        if info.kind != "a FIFO":
            problem = f"{info.path} is {info.kind} in the place of a doorbell: its subscriber hears nothing"
            remove = command("rm", *(["-r"] if info.kind == "a folder" else []), info.path)
            yield Finding("warn", problem, f"{remove}; {_RESTART_SUBSCRIBER}")


def _dead_readers(infos: Sequence[DoorbellInfo]) -> Iterator[Finding]:
    """Find addresses whose subscriber died while it waited, and that have no other subscriber."""
    heard = {info.folder for info in infos if info.has_subscriber}
    dead = [
        info
        for info in infos
        if info.kind == "a FIFO"
        and not info.has_reader
        and not info.is_relays
        and info.folder not in heard
        and not info.address.startswith(ALL_TRAFFIC)
    ]
    if dead:
        words = [f"{info.address} (pid {info.pid})" for info in dead]
        yield Finding(
            "warn",
            f"ended while waiting, without removing its doorbell: {listed(words)}",
            "start them again if they should run; the next ring removes the old doorbells",
        )


def _test_ring(doorbells: Doorbells) -> Iterator[Finding]:
    address = f"doctor:{os.getpid()}"
    folder_existed = bool(permissions.kind_of(doorbells.folder))
    try:
        doorbell = doorbells.create(address)
    except OSError as error:
        where = error.filename or doorbells.folder
        yield Finding(
            "warn",
            f"no FIFO can be created at {where} ({error.strerror}): subscribers poll every 100 ms instead",
            f"make {doorbells.folder} a folder that this user can write, on a file system that supports FIFOs",
        )
        return
    try:
        doorbells.ring([address])
        if not doorbell.wait(_RING_TIMEOUT_S):
            yield Finding("warn", "a ring was not heard", "put the bus on another file system")
    finally:
        doorbell.close()
        # A folder that root created would be closed to all other users.
        if not folder_existed:
            with suppress(OSError):
                os.rmdir(doorbells.folder)


def _inspect(folder: str, name: str) -> DoorbellInfo:
    path = os.path.join(folder, name)
    kind = permissions.kind_of(path)
    if kind != "a FIFO":
        return DoorbellInfo(folder, name, kind or "a FIFO", not kind)
    try:
        # Opens the FIFO as a sender does, without ringing. The reader holds a write end of its own, so it notices
        # nothing.
        pipe = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        return DoorbellInfo(folder, name, kind, error.errno != errno.ENXIO)
    try:
        return DoorbellInfo(folder, name, kind, True, _count_unread_rings(pipe), _is_full(pipe))
    finally:
        os.close(pipe)


def _count_unread_rings(pipe: int) -> int:
    """Return the number of bytes in a pipe; only Linux reports it to a writer."""
    if sys.platform != "linux":
        return 0
    answer = fcntl.ioctl(pipe, termios.FIONREAD, struct.pack("i", 0))
    return int(struct.unpack("i", answer)[0])


def _is_full(pipe: int) -> bool:
    """Whether a pipe takes no more; without select(2), which supports no descriptor above 1023."""
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
