"""SIGTERM: end a waiting program by an exception, as SIGINT does, so that it cleans up."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import NoReturn


def raise_on_sigterm() -> None:
    """Make SIGTERM raise SystemExit(143) in the main thread, unless the program has its own handler.

    The default action would end the process at once and leave its doorbell and its leases behind.
    """
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _exit)


def _exit(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
