"""Small disk: a file system of a few MiB that only this process and its children see."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from contextlib import suppress
from pathlib import Path

# unshare(2) and mount(2).
_NEW_MOUNTS, _NEW_USERS = 0x00020000, 0x10000000
_READ_ONLY, _REMOUNT, _RECURSIVE, _PRIVATE = 1, 32, 16384, 1 << 18
_BLOCK = 4096


class NoMountsError(Exception):
    """This process may not mount a file system, or its system has no tmpfs."""


class SmallDisk:
    """A tmpfs at a folder, with `size` bytes and `files` inodes; it ends with the last process of this one's namespace.

    Creating one gives this process its own mount namespace, so that it must have only one thread.
    """

    def __init__(self, folder: str, *, size: int, files: int = 1000) -> None:
        if sys.platform != "linux":
            raise NoMountsError("only Linux has mount namespaces")
        self._folder = folder
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._isolate()
        self._mount("none", "/", None, _RECURSIVE | _PRIVATE, None)
        self._mount("none", folder, "tmpfs", 0, f"size={size},nr_inodes={files},mode=0700")

    def fill(self) -> None:
        """Use up all blocks."""
        with open(self._filler(), "ab", buffering=0) as file, suppress(OSError):
            while file.write(b"\0" * _BLOCK):
                pass

    def leave(self, size: int) -> None:
        """Free so many bytes of a full disk."""
        path = self._filler()
        os.truncate(path, max(0, os.stat(path).st_size - size))

    def use_up_files(self) -> None:
        """Use up all inodes."""
        number = 0
        with suppress(OSError):
            while True:
                Path(self._folder, f"filler-{number}").touch(exist_ok=False)
                number += 1

    def make_room(self) -> None:
        """Delete all fillers."""
        for path in Path(self._folder).glob("filler*"):
            path.unlink()

    def set_read_only(self, is_read_only: bool) -> None:
        """Remount the disk read-only or writable; raises OSError if a file is open for writing."""
        self._mount("none", self._folder, "tmpfs", _REMOUNT | (_READ_ONLY if is_read_only else 0), None)

    def _filler(self) -> str:
        return f"{self._folder}/filler"

    def _isolate(self) -> None:
        if self._libc.unshare(_NEW_MOUNTS) == 0:
            return
        user, group = os.geteuid(), os.getegid()
        if self._libc.unshare(_NEW_MOUNTS | _NEW_USERS):
            raise NoMountsError(f"no mount namespace is available: {os.strerror(ctypes.get_errno())}")
        # As the same user, with all capabilities in the namespace: see user_namespaces(7).
        for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            try:
                Path(f"/proc/self/{name}").write_text(text, encoding="ascii")
            except OSError as error:
                raise NoMountsError(f"/proc/self/{name} cannot be written: {error.strerror}") from None

    def _mount(self, source: str, target: str, kind: str | None, flags: int, options: str | None) -> None:
        texts = [text and text.encode() for text in (source, target, kind, options)]
        if self._libc.mount(texts[0], texts[1], texts[2], ctypes.c_ulong(flags), texts[3]):
            number = ctypes.get_errno()
            if number in (errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENODEV):
                raise NoMountsError(f"{target} cannot be mounted: {os.strerror(number)}")
            raise OSError(number, os.strerror(number), target)
