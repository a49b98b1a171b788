"""Pages: the JSON values of a card, checked; another host may put anything there."""

# Without `from __future__ import annotations`: a NamedTuple would compile the text of each type when it is made.

from typing import Any, NamedTuple

MAX_PAGES = 16
LARGEST = (1 << 62) - 1
# Of a text, and of the numbers of one address: more are those of a later version.
_MAX_TEXT, _MAX_NUMBERS = 64, 16


class Page(NamedTuple):
    """One value of the bucket: a page of the addresses on a card.

    Of each address: the seconds of its last use, the loops that wait, the deliveries that are open, 1 if it was used.
    """

    at_home: dict[str, list[int]]

    @classmethod
    def of(cls, value: Any) -> "Page":
        """Check the JSON value of a page; raises ValueError."""
        return cls(_lists(_field(value, "at_home", dict, {}), 4))


class Head(NamedTuple):
    """The first page, which names the others by the digests of their values."""

    at_home: dict[str, list[int]]
    version: int
    bus: str
    run: str
    raven: str
    received: dict[str, list[int]]
    pages: list[str]
    leaving: bool

    @classmethod
    def of(cls, value: Any) -> "Head":
        """Check the JSON value of a first page; raises ValueError."""
        head = cls(
            Page.of(value).at_home,
            _field(value, "v", int),
            _field(value, "bus", str),
            _field(value, "run", str, ""),
            _field(value, "raven", str, ""),
            _lists(_field(value, "received", dict, {}), 3),
            _field(value, "pages", list, []),
            _field(value, "leaving", bool, False),
        )
        are_pages = len(head.pages) <= MAX_PAGES and all(type(page) is str for page in head.pages)
        texts = (head.bus, head.run, head.raven)
        if not are_pages or head.version < 1 or not head.bus or max(map(len, texts)) > _MAX_TEXT:
            raise ValueError
        return head


def _field(value: Any, name: str, kind: type, default: Any = None) -> Any:
    """Return a field of a JSON object, which must be of exactly this type; raises ValueError."""
    found = value.get(name, default) if type(value) is dict else None
    if type(found) is not kind:
        raise ValueError
    if isinstance(found, str):
        found.encode()  # raises UnicodeEncodeError for half a character
    return found


def _lists(found: dict[str, Any], least: int) -> dict[str, list[int]]:
    """Return lists of numbers by name, each with so many at least; raises ValueError."""
    for name, numbers in found.items():
        if type(numbers) is not list or not least <= len(numbers) <= _MAX_NUMBERS:
            raise ValueError
        for number in numbers:
            if type(number) is not int or not 0 <= number <= LARGEST:
                raise ValueError
        name.encode()
    return found
