"""Presence: what the agent of a session does now, as far as its hooks and calls tell."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

# The events that come within a turn.
TURN = ("prompt", "after-tool")
# A turn that its user interrupts ends without a hook. After so many seconds without a sign of it, it may have ended.
SILENCE_S = 10.0


class Presence:
    """Whether the agent is busy, idle, or waits for mail; `clock` is a monotonic clock.

    A turn begins with a prompt, and ends with a stop. Without hooks neither is known.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._is_busy = False
        self._has_hooks = False
        self._heard_at = float("-inf")
        self._waits = self._listens = 0

    @property
    def has_hooks(self) -> bool:
        """Whether a hook was ever heard."""
        return self._has_hooks

    @property
    def state(self) -> Literal["busy", "idle", "listening"] | None:
        """What the other agents see; None if it is not known."""
        if self._listens:
            return "listening"
        if not self._has_hooks:
            return None
        return "busy" if self._is_busy else "idle"

    def hear(self, *, is_busy: bool) -> None:
        """Note a hook: after it, the agent is in a turn, or its turn has ended."""
        self._has_hooks = True
        self._is_busy = is_busy
        self._heard_at = self._clock()

    def called(self) -> None:
        """Note a call of a tool: the agent is in a turn."""
        self._is_busy = True
        self._heard_at = self._clock()

    def begin_wait(self, *, listens: bool) -> None:
        """Note a call that waits; `listens` if any mail ends it."""
        self._waits += 1
        self._listens += listens

    def end_wait(self, *, listens: bool) -> None:
        """Note the end of a call that waited."""
        self._waits -= 1
        self._listens -= listens
        self.called()

    def may_be_woken(self) -> bool:
        """Whether the agent has no turn, or maybe none, in which it would hear of its mail by itself."""
        if self._waits:
            return False
        return not self._has_hooks or not self._is_busy or self._clock() - self._heard_at >= SILENCE_S
