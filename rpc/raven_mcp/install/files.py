"""Files: a change of one file of a host, shown before it is made, made at once or not at all, and taken back.

A file is replaced by a rename, with its mode and owner; a symlink keeps leading to it. The first change leaves a copy
of the file beside it, which the end of the installation restores byte for byte if nothing else has changed since.
"""

from __future__ import annotations

import difflib
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from typing import Protocol

BACKUP = ".raven-backup"
_MAX_BYTES = 64 << 20


class RefusedError(Exception):
    """A file or program of the host forbids the installation; nothing was done. The message says why.

    `snippet` is the text that the user can write into the file by hand.
    """

    def __init__(self, message: str, snippet: str = "") -> None:
        super().__init__(message)
        self.snippet = snippet


class FailedError(Exception):
    """A step failed; all steps before it were taken back."""


class Step(Protocol):
    """One step of an installation, which can be shown, done, and taken back."""

    def preview(self) -> str:
        """Return the step as text for the user: a unified diff, or a command."""

    def apply(self) -> None:
        """Do the step; raises OSError, RefusedError or FailedError, with nothing done."""

    def undo(self) -> None:
        """Take the step back, as far as no other program has changed the same thing since."""


class Change:
    """A change of one file from `before` to `after`; None stands for a file that does not exist.

    `backup` is the copy that the change leaves beside the file; None leaves an older one, unless `drops_backup`. With a
    removed file go its empty folders, up to the folder `within`.
    """

    def __init__(
        self,
        path: str,
        before: bytes | None,
        after: bytes | None,
        *,
        backup: bytes | None = None,
        drops_backup: bool = False,
        mode: int = 0o600,
        within: str = "",
        is_own: bool = False,
    ) -> None:
        self.path, self.before, self.after = path, before, after
        self._backup, self._drops_backup = backup, drops_backup
        self._mode, self._within, self._is_own = mode, within, is_own
        self._old_backup: bytes | None = None
        self._folders: list[str] = []

    def preview(self) -> str:
        """Return a unified diff; a file that is raven's alone is only named."""
        if self.before == self.after:
            return f"remove {self.path}{BACKUP}" if self._drops_backup else f"copy {self.path} to {self.path}{BACKUP}"
        if self._is_own or b"\0" in (self.after or b"") + (self.before or b""):
            word = "create" if self.before is None else "remove" if self.after is None else "replace"
            return f"{word} {self.path}"
        old, new = (
            (data or b"").decode(errors="replace").splitlines(keepends=True) for data in (self.before, self.after)
        )
        before, after = ("/dev/null" if data is None else self.path for data in (self.before, self.after))
        return "".join(_with_ends(difflib.unified_diff(old, new, before, after)))

    def apply(self) -> None:
        """Write the file; raises RefusedError if it has changed since it was read."""
        if read(self.path) != self.before:
            raise RefusedError(f"{self.path} has just been changed by another program: try again")
        self._old_backup = read(self.path + BACKUP)
        if self.before is not None:
            self._mode = stat.S_IMODE(os.stat(self.path).st_mode)
        self._make_folders()
        try:
            if self._backup is not None:
                _replace(self.path + BACKUP, self._backup, 0o600)
            if self.before != self.after:
                _write(self.path, self.after, self._mode)
        except OSError:
            self._write_old_backup()
            self._remove_folders()
            raise
        if self._drops_backup:
            _remove(self.path + BACKUP)
        if self.after is None and self._within:
            self._remove_empty_folders()

    def undo(self) -> None:
        """Write the file as it was, unless another program has changed it since."""
        if self.before != self.after and read(self.path) == self.after:
            self._make_folders()
            _write(self.path, self.before, self._mode)
        self._write_old_backup()
        self._remove_folders()

    def _write_old_backup(self) -> None:
        if self._old_backup is None:
            _remove(self.path + BACKUP)
        else:
            _replace(self.path + BACKUP, self._old_backup, 0o600)

    def _make_folders(self) -> None:
        folder, missing = os.path.dirname(os.path.realpath(self.path)), []
        while not os.path.isdir(folder) and folder not in missing:
            missing.append(folder)
            folder = os.path.dirname(folder)
        for folder in reversed(missing):
            os.mkdir(folder, 0o700 if self._mode & 0o077 == 0 else 0o777)
            self._folders.append(folder)

    def _remove_empty_folders(self) -> None:
        folder = os.path.dirname(self.path)
        with suppress(OSError):
            while os.path.commonpath((folder, self._within)) == self._within:
                os.rmdir(folder)
                folder = os.path.dirname(folder)

    def _remove_folders(self) -> None:
        while self._folders:
            with suppress(OSError):
                os.rmdir(self._folders[-1])
            self._folders.pop()


def read(path: str) -> bytes | None:
    """Return the content of a file, None if there is none; raises OSError, and RefusedError for other than a file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise RefusedError(f"{path} is no file: move it away")
        if status.st_size > _MAX_BYTES:
            raise RefusedError(f"{path} has {status.st_size:,} bytes: that is no configuration")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)


def _write(path: str, data: bytes | None, mode: int) -> None:
    if data is None:
        _remove(os.path.realpath(path))
    else:
        _replace(path, data, mode)


def _replace(path: str, data: bytes, mode: int) -> None:
    """Replace the file that a path leads to, or make it with `mode`."""
    path = os.path.realpath(path)
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.raven-{os.getpid()}")
    owner = None
    with suppress(FileNotFoundError):
        status = os.stat(path)
        mode, owner = stat.S_IMODE(status.st_mode), (status.st_uid, status.st_gid)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if owner is not None:
                if owner != _owner(file.fileno()):
                    os.fchown(file.fileno(), *owner)
                os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        _remove(temporary)
        raise


def _owner(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_uid, status.st_gid


def _remove(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


def _with_ends(lines: Iterable[str]) -> list[str]:
    """Return the lines of a diff, each with an end, and with diff's mark of a last line that has none."""
    return [line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines]
