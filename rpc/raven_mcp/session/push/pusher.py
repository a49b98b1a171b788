"""Pusher: wakes an idle agent for new mail, by the channel that its program has."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from raven.errors import RavenError
from raven_mcp.session.brakes import Brakes
from raven_mcp.session.mail import Mail
from raven_mcp.session.notice import Waiting
from raven_mcp.session.notices import Notices
from raven_mcp.session.presence import Presence
from raven_mcp.session.push.channel import Channel
from raven_mcp.wire.loop import Loop

# A burst of mail is one push: it waits until no more has come for a moment, but no longer than a quarter of a second.
QUIET_S = 0.1
BURST_S = 0.25
# After a push that did not arrive, and twice as long after each further one.
_RETRY_S, _MAX_RETRY_S = 10.0, 600.0
_AGAIN = " It still waits."


class Pusher:
    """Pushes the new mail of a session, as far as its presence and its brakes allow."""

    def __init__(
        self,
        channel: Channel,
        mail: Mail,
        notices: Notices,
        presence: Presence,
        brakes: Brakes,
        loop: Loop,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._channel = channel
        self._mail = mail
        self._notices = notices
        self._presence = presence
        self._brakes = brakes
        self._loop = loop
        self._clock = clock
        self._burst_since: float | None = None
        self._due_at = float("inf")
        self._retry_at, self._retry_s = float("-inf"), _RETRY_S
        self._on_its_way: list[Waiting] = []
        self._text = self._last_text = ""
        self._is_open = True

    def mail_came(self) -> None:
        """Push soon, unless more mail comes first."""
        now = time.monotonic()
        if self._burst_since is None:
            self._burst_since = now
        self._due_at = min(now + QUIET_S, self._burst_since + BURST_S)
        self._loop.add(self._due_at, self._on_timer)

    def _on_timer(self) -> None:
        if self._burst_since is not None and time.monotonic() >= self._due_at:
            self._burst_since = None
            with suppress(RavenError):  # the next tick tries again
                self.push()

    def push(self) -> None:
        """Push the new mail, if the agent may be woken now. Raises DatabaseError."""
        if not self._is_open or self._on_its_way or self._burst_since is not None or self._clock() < self._retry_at:
            return
        if not self._presence.may_be_woken() or not self._brakes.may_push():
            return
        messages, text = self._notices.for_push()
        if messages:
            self._on_its_way = messages
            self._mail.begin_push(messages)
            # A program may drop the repeat of a text that it has taken.
            self._text = f"{text}{_AGAIN}" if text == self._last_text else text
            self._channel.post(self._text, self._ended)

    def _ended(self, arrived: bool) -> None:
        messages, self._on_its_way = self._on_its_way, []
        self._mail.end_push(messages, arrived=arrived)
        if arrived:
            self._last_text = self._text
            # A quick agent has read them before the program of the channel ends.
            self._brakes.pushed(one.id for one in messages if not self._mail.was_shown(one.id))
            self._retry_s = _RETRY_S
        else:
            self._retry_at = self._clock() + self._retry_s
            self._retry_s = min(2 * self._retry_s, _MAX_RETRY_S)

    def close(self) -> None:
        """Push no more."""
        self._is_open = False
        self._channel.close()
        self._mail.end_push(self._on_its_way, arrived=False)
