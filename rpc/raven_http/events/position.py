"""Position: a place in the stream of messages and changes, and where a stream begins."""

from __future__ import annotations

import re
from typing import NamedTuple

from raven.errors import InputError, abbreviate
from raven.model.limits import MAX_ID

# `<message>.<change>-<tag>`, or the id of a message alone.
_FORM = re.compile(r"([0-9]{1,19})(?:\.([0-9]{1,19})(?:-([0-9a-f]{8}))?)?", re.ASCII)


class Position(NamedTuple):
    """The newest message and the newest change that a viewer has, of those in the order of the stream."""

    message: int
    change: int

    def covers(self, other: Position) -> bool:
        """Whether all that is before the other position is also before this one."""
        return self.message >= other.message and self.change >= other.change

    def text(self, tag: str) -> str:
        """Return the position as the `id:` of an event; `tag` is that of the change log, or empty without one."""
        return f"{self.message}.{self.change}-{tag}" if tag else f"{self.message}.{self.change}"


class Start(NamedTuple):
    """Where a stream begins: after a message and a change. None stands for the newest at that time.

    `tag` is that of the change log that the position belongs to, if it is known. With `last` it begins so many ids
    before the newest message.
    """

    message: int | None = None
    change: int | None = None
    tag: str | None = None
    last: int | None = None


def parse(text: str) -> Start:
    """Return where the `id:` of an event, or the id of a message alone, lets a stream go on; raises InputError."""
    found = _FORM.fullmatch(text)
    if found is None or max(int(found[1]), int(found[2] or 0)) > MAX_ID:
        raise InputError(
            f"last_event_id {abbreviate(text)} is not the id of an event: give one that the stream sent, or the id of "
            "a message"
        )
    return Start(int(found[1]), None if found[2] is None else int(found[2]), found[3])
