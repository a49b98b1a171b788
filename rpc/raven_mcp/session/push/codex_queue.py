"""CodexQueue: `codex queue`, which gives a thread of Codex a message, and so wakes it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from raven_mcp.session.announced import is_native_id
from raven_mcp.wire.loop import Loop

if TYPE_CHECKING:
    import subprocess

# Names the program, if it is not on the PATH that Codex gives its servers.
PROGRAM_VARIABLE = "RAVEN_CODEX"
_TIMEOUT_S = 10.0
_FIRST_LOOK_S, _LOOK_S = 0.02, 0.1


class CodexQueue:
    """The queue of one thread; a push is one run of the program, which the loop looks at until it ends."""

    def __init__(self, thread: str, environ: Mapping[str, str], loop: Loop, timeout_s: float = _TIMEOUT_S) -> None:
        self._thread = thread
        self._environ = environ
        self._loop = loop
        self._timeout_s = timeout_s
        self._child: subprocess.Popen[bytes] | None = None
        self._ends_at = 0.0
        self._done: Callable[[bool], object] = bool

    def post(self, text: str, done: Callable[[bool], None]) -> None:
        """Run `codex queue`; it fails if there is no such program, or if that fails or takes more than ten seconds."""
        import subprocess

        program = self._program()
        if program is None or self._child is not None or self._thread.startswith("-") or not is_native_id(self._thread):
            return done(False)
        command = [program, "queue", "--thread", self._thread, "--message", text]
        nothing = subprocess.DEVNULL
        try:
            self._child = subprocess.Popen(  # noqa: S603 the program is the user's own, and no shell reads the text
                command, stdin=nothing, stdout=nothing, stderr=nothing, env=dict(self._environ), start_new_session=True
            )
        except (OSError, ValueError):
            return done(False)
        self._done = done
        self._ends_at = time.monotonic() + self._timeout_s
        self._loop.add(time.monotonic() + _FIRST_LOOK_S, self._look)
        return None

    def close(self) -> None:
        """End the program if it runs."""
        if self._child is not None:
            self._kill(self._child)
            self._child = None

    def _program(self) -> str | None:
        import shutil

        return self._environ.get(PROGRAM_VARIABLE) or shutil.which("codex", path=self._environ.get("PATH", os.defpath))

    def _look(self) -> None:
        child = self._child
        if child is None:
            return
        code = child.poll()
        if code is None and time.monotonic() < self._ends_at:
            self._loop.add(time.monotonic() + _LOOK_S, self._look)
            return
        if code is None:
            self._kill(child)
        self._child = None
        self._done(code == 0)

    def _kill(self, child: subprocess.Popen[bytes]) -> None:
        """Kill the program with its own children, and reap it."""
        import signal

        try:
            os.killpg(child.pid, signal.SIGKILL)
        except OSError:
            child.kill()
        child.wait()
