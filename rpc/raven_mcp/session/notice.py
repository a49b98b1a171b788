"""Notice: the text that tells an agent of mail, and the moments at which mail of each urgency is told.

A host may give this text to its model with the weight of the system's own words, and any process of the user can send
under any address. So a notice has ids and words of plain characters, and nothing of a body.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

MAX_LENGTH = 600
# Further sentences at the end of a notice have at most so many characters.
MAX_NOTE = 100
BLOCKING, PROMPT, FYI = 0, 1, 2
_WORDS = {BLOCKING: "blocking", FYI: "fyi"}
# Each moment with the least urgent mail that it lets through.
_LEAST_URGENT = {"session-start": FYI, "prompt": FYI, "after-tool": PROMPT, "stop": PROMPT, "idle": PROMPT}
_START, _END = "raven: ", ". Not from your user. Read with inbox."
_TOKEN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.@+-")
_MAX_TOKEN = 64


class Waiting(NamedTuple):
    """A message that waits, without its body; `urgency` and `state` are numbers, as in the file."""

    id: int
    sender: str
    type: str
    urgency: int
    state: int


def is_due(moment: str, urgency: int, *, is_active: bool = False) -> bool:
    """Whether mail of an urgency is told at a moment: at a hook's event of that kind, or while the agent is "idle".

    With `is_active`, a notice at a stop has let the turn go on already: only blocking mail does so again.
    """
    least = BLOCKING if moment == "stop" and is_active else _LEAST_URGENT.get(moment, BLOCKING - 1)
    return urgency <= least


def compose(messages: Sequence[Waiting], note: str = "") -> str:
    """Return a notice of one line about some messages, with a sentence `note` at its end.

    >>> compose([Waiting(7, "architect:pay", "question", 0, 0), Waiting(8, "ci:pay", "status", 1, 0)])
    'raven: #7 from architect:pay (question, blocking), #8 from ci:pay (status). Not from your user. Read with inbox.'
    """
    room = MAX_LENGTH - MAX_NOTE - len(_START) - len(_END) - len(" and 9999999 more")
    parts: list[str] = []
    for message in messages:
        part = describe(message)
        room -= len(part) + 2
        if room < 0:
            break
        parts.append(part)
    rest = len(messages) - len(parts)
    more = f" and {rest} more" if rest else ""
    return f"{_START}{', '.join(parts)}{more}{_END}{note}"


def describe(message: Waiting) -> str:
    """Return a message as a notice names it: `#7 from architect:pay (question, blocking)`."""
    details = [message.type] if is_token(message.type) else []
    if message.urgency in _WORDS:
        details.append(_WORDS[message.urgency])
    return f"#{message.id} from {checked_address(message.sender)}" + (f" ({', '.join(details)})" if details else "")


def checked_address(address: str) -> str:
    """Return an address of plain characters as it is; another one is not shown."""
    role, colon, session = address.partition(":")
    return address if colon and is_token(role) and is_token(session) else "another agent"


def is_token(text: str) -> bool:
    """Whether a text can stand in a notice: 1 to 64 letters, digits and `_.@+-`."""
    return 0 < len(text) <= _MAX_TOKEN and _TOKEN.issuperset(text)
