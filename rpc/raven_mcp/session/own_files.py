"""Own files: the small files of sessions lie in folders of this user only, never behind a symlink."""

from __future__ import annotations

import os

from raven.wake.fifo import check_own_folder, make_own_folder


def make_folder(folder: str) -> None:
    """Make a folder of sessions' files, and the one around it; raises OSError if either is not this user's own."""
    make_own_folder(os.path.dirname(folder))
    make_own_folder(folder)


def check_folder(folder: str) -> None:
    """Raise OSError unless a folder of sessions' files, and the one around it, are this user's own."""
    check_own_folder(os.path.dirname(folder))
    check_own_folder(folder)


def remove(path: str) -> None:
    """Remove a session's file; raises OSError if it lies in a folder that is not this user's own, or is not there."""
    check_folder(os.path.dirname(path))
    os.unlink(path)
