"""Long call: one whose answer may be long in coming, over a connection of its own, so that other calls can go on."""

from __future__ import annotations

import time
from typing import Any

from raven import ClosedError, LimitError, LostError, UnreachableError, deadline_after, left_s
from raven_rpc.client.connection import Wire, lost
from raven_rpc.client.retry import Link, Patience, given_of


class LongCall:
    """One call that is answered within `timeout_s` seconds, or some time (None); ends with its client: ClosedError.

    With `again` it is asked once more, for the time that is left, when the connection was lost.
    """

    def __init__(
        self,
        link: Link,
        method: str,
        params: dict[str, Any],
        timeout_s: float | None = None,
        *,
        waits: bool = False,
        again: bool = False,
    ) -> None:
        self._deadline = deadline_after(timeout_s)
        self._link = link
        self._method = method
        self._params = given_of({**params, "timeout_s": timeout_s})
        if waits:  # None is for ever, and not what the helper takes for what is left out
            self._params["timeout_s"] = timeout_s
        self._wait_s = timeout_s
        self._again = again
        self._patience = self._new_patience()
        self._began = time.monotonic()

    def ask(self) -> Any:
        """Block until the answer is there, and return it; raises its error, UnreachableError or LostError."""
        while True:
            self._began = time.monotonic()
            wire: Wire | None = None
            try:
                wire = self._link.connect()
                return wire.ask(self._method, self._params, self._wait_s)
            except (UnreachableError, LostError, LimitError, ClosedError) as error:
                pause_s = self._pause_s(error)
            finally:
                if wire is not None:
                    wire.close()
            time.sleep(pause_s)
            self._shorten()

    async def ask_async(self) -> Any:
        """Do as `ask` does, without blocking the event loop; to cancel it ends the connection."""
        import asyncio

        from raven_rpc.client.async_connection import AsyncWire

        while True:
            self._began = time.monotonic()
            self._link.check_open()
            wire = AsyncWire(self._link)
            try:
                await wire.connect()
                return await wire.ask(self._method, self._params, self._wait_s)
            except (UnreachableError, LostError, LimitError, ClosedError) as error:
                pause_s = self._pause_s(error)
            finally:
                wire.close()
            await asyncio.sleep(pause_s)
            self._shorten()

    def _pause_s(self, error: UnreachableError | LostError | LimitError | ClosedError) -> float:
        """Return how long to pause before it is asked again, or raise the error."""
        self._link.check_open()
        if isinstance(error, ClosedError):  # what the helper answers when it stops
            error = lost(self._link.db_path)
        if isinstance(error, LostError) and time.monotonic() - self._began > self._patience.limit_s:
            # The helper was there all the time until now.
            self._patience = self._new_patience()
        return self._patience.pause_s(error)

    def _new_patience(self) -> Patience:
        return Patience(self._link, lost_too=self._again, at_most_s=left_s(self._deadline))

    def _shorten(self) -> None:
        """Ask only for the time that is left, next time; what may be asked only once has not begun yet."""
        if self._again and self._deadline is not None:
            self._wait_s = self._params["timeout_s"] = left_s(self._deadline)
