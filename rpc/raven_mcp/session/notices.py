"""Notices: which new mail the agent of a session is told of at which moment, as far as the brakes allow."""

from __future__ import annotations

from raven_mcp.session.brakes import MAX_CONTINUES, MAX_DEPTH, MAX_WAKES, THREAD_SPAN_S, Brakes
from raven_mcp.session.mail import Mail
from raven_mcp.session.notice import Waiting, compose, is_due
from raven_mcp.session.presence import TURN, Presence

_LOOP = f" More of this thread is muted until you look: {MAX_DEPTH} replies in {THREAD_SPAN_S / 60:.0f} minutes."
_FLOOD = f" More is muted until you look: {MAX_WAKES} notices in an hour."


class Notices:
    """The notices of one session; each message is announced once.

    | | fyi | prompt | blocking |
    |---|---|---|---|
    | after a tool | - | notice | notice |
    | at a stop | - | goes on once | goes on up to three times |
    | idle | - | push | push |
    | at a prompt, at the start | notice | notice | notice |
    """

    def __init__(self, mail: Mail, presence: Presence, brakes: Brakes) -> None:
        self._mail = mail
        self._presence = presence
        self._brakes = brakes
        self._continues = 0

    def for_hook(self, kind: str, *, is_active: bool = False) -> str | None:
        """Return the notice for a hook's event, of a kind that `notice` knows; None without news.

        `is_active` says that an earlier notice at a stop has let this turn go on. Raises DatabaseError.
        """
        if kind == "stop":
            return self._at_stop(is_active=is_active)
        self._presence.hear(is_busy=kind in TURN)
        return self._tell([one for one in self._mail.new() if is_due(kind, one.urgency)])

    def _at_stop(self, *, is_active: bool) -> str | None:
        self._presence.hear(is_busy=False)
        if not is_active:
            self._continues = 0
        messages = self._waking("stop", is_active=is_active)
        if not messages or self._continues >= MAX_CONTINUES:
            return None
        notice = self._tell(messages, self._note(messages))
        if notice is not None:
            self._presence.hear(is_busy=True)
            self._continues += 1
            self._brakes.woke()
        return notice

    def for_push(self) -> tuple[list[Waiting], str]:
        """Return the messages for which an idle agent may be woken now, and the text of that push."""
        messages = self._waking("idle")
        return messages, compose(messages, self._note(messages)) if messages else ""

    def _waking(self, moment: str, *, is_active: bool = False) -> list[Waiting]:
        if not self._brakes.may_wake():
            return []
        due = [one for one in self._mail.new() if is_due(moment, one.urgency, is_active=is_active)]
        return [one for one in due if self._mail.depth(one) < MAX_DEPTH]

    def _note(self, messages: list[Waiting]) -> str:
        """Return the sentence about a brake that holds after this wake; empty if none does."""
        if self._brakes.is_last:
            return _FLOOD
        return _LOOP if any(self._mail.depth(one) == MAX_DEPTH - 1 for one in messages) else ""

    def _tell(self, messages: list[Waiting], note: str = "") -> str | None:
        told = self._mail.announce(messages)
        return compose(told, note) if told else None
