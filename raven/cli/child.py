"""Child: a shell command of the user's own, run for one message."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager


def run(command: str, text: str) -> int:
    """Run a shell command with a text on its stdin, and return its exit status, as a shell gives it.

    What ends the wait for it (Ctrl-C, SIGTERM) ends the command, too, even in the moment of its start.
    """
    child: subprocess.Popen[str] | None = None
    try:
        with _signals_held():
            child = subprocess.Popen(command, shell=True, stdin=subprocess.PIPE, text=True)  # noqa: S602 the user's own
        child.communicate(text)
    except BaseException:
        if child is not None:
            child.kill()
            child.wait()
        raise
    # As a shell says that a signal has ended it.
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


@contextmanager
def _signals_held() -> Iterator[None]:
    """Let what would interrupt this program wait until the end of the block, where it is known what to end.

    Not by a mask: the child would inherit that, and be deaf.
    """
    came: list[int] = []
    # What is ignored stays so for the child, too.
    handlers = {
        number: handler for number in (signal.SIGINT, signal.SIGTERM) if callable(handler := signal.getsignal(number))
    }
    for number in handlers:
        signal.signal(number, lambda which, _: came.append(which))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    for which in came:
        signal.raise_signal(which)
