"""Child: a function that runs as another user, in a forked process, and returns a value."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import select
import signal
import traceback
from collections.abc import Callable
from typing import Any

import raven

# Modules that raven imports when it needs them: the other user may not be able to read them.
_LATE = ("asyncio", "fcntl", "grp", "hashlib", "logging", "pwd", "shlex", "signal", "watchfiles", "yaml", "select")


def import_all() -> None:
    """Import all that raven may need: the other users cannot import what lies in this user's folders."""
    for module in pkgutil.walk_packages(raven.__path__, "raven."):
        if not module.name.startswith(("raven.cli", "raven.__main__")):
            importlib.import_module(module.name)
    for name in _LATE:
        importlib.import_module(name)


class Child:
    """Runs `function` as the user `uid` in `folder`; `result` waits for its value, which JSON can hold."""

    def __init__(self, uid: int, folder: str, function: Callable[[], Any]) -> None:
        reader, writer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(reader)
            self._run(uid, folder, function, writer)
        os.close(writer)
        self._reader = reader

    def result(self, timeout_s: float) -> Any:
        """Return the value of the function; RuntimeError if it raised an error or did not end in time."""
        data = b""
        try:
            while select.select([self._reader], [], [], timeout_s)[0]:
                more = os.read(self._reader, 1 << 16)
                if not more:
                    break
                data += more
        finally:
            os.close(self._reader)
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        if not data:
            raise RuntimeError(f"a process of the trial has not ended within {timeout_s:g} s")
        value = json.loads(data)
        if isinstance(value, str):
            raise RuntimeError(value)
        return value

    @staticmethod
    def _run(uid: int, folder: str, function: Callable[[], Any], writer: int) -> None:
        try:
            os.umask(0o022)
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            os.chdir(folder)
            os.environ["HOME"] = folder
            value = function()
        except BaseException:
            value = traceback.format_exc()[-2000:]
        try:
            with os.fdopen(writer, "wb") as pipe:
                pipe.write(json.dumps(value).encode())
        finally:
            os._exit(0)
