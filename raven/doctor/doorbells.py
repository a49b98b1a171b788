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

from raven.doctor import permissions as place
from raven.doctor.report import Check, Finding, command, conclude, listed
from raven.wake.doorbell import ALL_TRAFFIC, Doorbells
from raven.wake.watcher import LOCK_NAME

_HEARD_WITHIN_S = 1.0
_AGAIN = "restart who waits there if it does not hang another by itself within its poll_interval_s"


class HungBell(NamedTuple):
    """What stands in a bell's place: for whom, whose by its name, with how many rings that nobody has answered.

    `kind` is what it is, be it no FIFO; `is_heard` whether somebody has it open; `is_full` whether it takes no more.
    """

    folder: str
    name: str
    kind: str
    is_heard: bool
    rings: int = 0
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
        """The process that hung it, by its name; 0 where that tells none."""
        number = self.name.partition("-")[0]
        return int(number) if number.isascii() and number.isdigit() else 0


def bells_of(folder: str) -> list[HungBell]:
    """Return what hangs in the folder of all doorbells; nothing in it is removed, rung or silenced by that."""
    return [
        _look_at(place_of_address, name)
        for place_of_address in _folders_in(folder)
        for name in _names_in(place_of_address)
        if not name.startswith(".")  # one that is just being made
    ]


def check_doorbells(doorbells: Doorbells, hung: Sequence[HungBell], db_path: str) -> Check:
    """Look at the folder and what is in it, and let one ring be heard."""
    findings = [*_of_the_folder(doorbells.folder, hung, db_path), *_of_strangers(hung), *_of_the_dead(hung)]
    if not any(one.verdict == "fail" for one in findings):
        findings.extend(_of_a_ring(doorbells))
    return conclude("doorbells", findings, f"a ring was heard in {doorbells.folder}")


def _of_the_folder(folder: str, hung: Sequence[HungBell], db_path: str) -> Iterator[Finding]:
    kind = place.kind_of(folder)
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
    pipes = [bell.path for bell in hung if bell.kind == "a FIFO"]
    for path in (folder, os.path.join(folder, LOCK_NAME), *_folders_in(folder), *pipes):
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
            right = "700" if stat.S_ISDIR(status.st_mode) else "600"
            yield Finding("warn", f"{path} is open to others (mode {mode:04o})", command("chmod", right, path))


def _of_strangers(hung: Sequence[HungBell]) -> Iterator[Finding]:
    for bell in hung:
        if bell.kind != "a FIFO":
            found = f"{bell.path} is {bell.kind} in the place of a doorbell: who waited there hears nothing"
            remove = command("rm", *(["-r"] if bell.kind == "a folder" else []), bell.path)
            yield Finding("warn", found, f"{remove}; {_AGAIN}")


def _of_the_dead(hung: Sequence[HungBell]) -> Iterator[Finding]:
    """Find those who died while they waited for mail, where nobody has taken their place."""
    heard = {bell.folder for bell in hung if bell.is_heard}
    dead = [
        bell
        for bell in hung
        if bell.kind == "a FIFO"
        and not bell.is_heard
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


def _of_a_ring(doorbells: Doorbells) -> Iterator[Finding]:
    address = f"doctor:{os.getpid()}"
    was_there = bool(place.kind_of(doorbells.folder))
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
        if not bell.wait(_HEARD_WITHIN_S):
            yield Finding("warn", "a ring was not heard", "put the bus on another file system")
    finally:
        bell.close()
        # A folder that root has made would be closed to all others.
        if not was_there:
            with suppress(OSError):
                os.rmdir(doorbells.folder)


def _look_at(folder: str, name: str) -> HungBell:
    path = os.path.join(folder, name)
    kind = place.kind_of(path)
    if kind != "a FIFO":
        return HungBell(folder, name, kind or "a FIFO", not kind)
    try:
        # As a sender does that has nothing to say. The reader has a writer of its own, and sees nothing of this.
        pipe = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        return HungBell(folder, name, kind, error.errno != errno.ENXIO)
    try:
        return HungBell(folder, name, kind, True, _count_rings(pipe), _is_full(pipe))
    finally:
        os.close(pipe)


def _count_rings(pipe: int) -> int:
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


def _folders_in(folder: str) -> list[str]:
    if place.kind_of(folder) != "a folder":
        return []
    paths = [os.path.join(folder, name) for name in _names_in(folder)]
    return [path for path in paths if place.kind_of(path) == "a folder"]


def _names_in(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _status(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except OSError:
        return None
