"""Kinds of isolation: how to start a process that cannot reach one folder, from the strongest kind to none."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

# In its own namespaces, sh hides the folder, and drops all capabilities before the worker starts.
_HIDE = (
    'mount -t tmpfs -o mode=0555,ro tmpfs "$1" && shift && '
    'exec setpriv --no-new-privs --inh-caps=-all --bounding-set=-all -- "$@"'
)
# The other user may be unable to run our Python: its folder may be closed.
_SYSTEM_PYTHON = shutil.which("python3", path="/usr/bin:/usr/local/bin") or sys.executable
_UNSHARE = ["unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]


@dataclass(frozen=True)
class Isolation:
    """One kind of isolation: its description, and how to start a Python program in it.

    `prefix` precedes the command, `options` are for Popen, and `uid` is the ID of the other user, if any. `hides` is
    false if the kind isolates nothing.
    """

    name: str
    words: str
    prefix: Callable[[str], Sequence[str]] = lambda hidden: []
    options: dict[str, Any] = field(default_factory=dict)
    uid: int | None = None
    python: str = sys.executable
    hides: bool = True

    def start(self, arguments: Sequence[str], hidden: str, **options: Any) -> subprocess.Popen[str]:
        """Start Python with arguments, in a process that cannot reach the folder `hidden`."""
        command = [*self.prefix(hidden), self.python, "-I", *arguments]
        return subprocess.Popen(command, text=True, **options, **self.options)

    def works(self, hidden: str) -> bool:
        """Return whether this machine can start a process in this isolation, and `hidden` is then empty for it."""
        needed = self.prefix(hidden)[:1]
        if needed and shutil.which(needed[0]) is None:
            return False
        listing = ["-c", "import os, sys; os.listdir(sys.argv[1]) and sys.exit(3)", hidden]
        try:
            process = self.start(listing, hidden, cwd="/", stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        except OSError:  # the other user may not run this Python
            return False
        _, complaint = process.communicate()
        return process.returncode == 0 or (self.uid is not None and "PermissionError" in complaint)


def _bubblewrap(hidden: str) -> list[str]:
    view = ["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", hidden]
    return ["bwrap", *view, "--unshare-all", "--cap-drop", "ALL", "--die-with-parent", "--"]


def _unshare(hidden: str) -> list[str]:
    return [*_UNSHARE, "--net", "--ipc", "sh", "-c", _HIDE, "sh", hidden]


def _kinds() -> list[Isolation]:
    kinds = [
        Isolation("bubblewrap", "namespaces made by bwrap: the bus folder is empty for the worker", _bubblewrap),
        Isolation("unshare", "namespaces made by unshare: the bus folder is empty for the worker", _unshare),
    ]
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        options = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        words = "another user: the worker is nobody, the bus folder is of mode 0700"
        kinds.append(Isolation("other-user", words, options=options, uid=nobody.pw_uid, python=_SYSTEM_PYTHON))
    words = "NONE: the worker is the same user, and is only not told where the bus is"
    return [*kinds, Isolation("same-user", words, hides=False)]


KINDS = _kinds()


def choose(hidden: str, name: str | None = None) -> Isolation | None:
    """Return the strongest kind that works here, or the kind of that name; returns None if it does not work."""
    for kind in KINDS:
        if name in (None, kind.name) and (not kind.hides or kind.works(hidden)):
            return kind
    return None
