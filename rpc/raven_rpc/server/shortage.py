"""Shortage: what the event loop of a helper does with errors that reach nobody, above all where descriptors run out."""

from __future__ import annotations

import asyncio
import errno
import logging
import time
from typing import Any

_TOLD_EVERY_S = 60.0


class Shortage:
    """An exception handler for the event loop that a helper has for itself: loop.set_exception_handler.

    Where no descriptor is left for another client asyncio accepts nobody for a second, and tries again; who waits is
    let in then. That is told in one line, once a minute.
    """

    def __init__(self) -> None:
        self._told_at = -_TOLD_EVERY_S

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Tell of a shortage; all else goes the way of asyncio's own."""
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            if time.monotonic() - self._told_at >= _TOLD_EVERY_S:
                self._told_at = time.monotonic()
                logging.getLogger("raven").warning(
                    "no descriptor is left for another client, who waits: raise the limit (`ulimit -n`), or lower "
                    "--max-connections"
                )
        # After a shortage asyncio begins to accept again, and does not see that the helper has stopped meanwhile.
        elif not (isinstance(error, ValueError) and "_start_serving" in str(context.get("handle"))):
            loop.default_exception_handler(context)
