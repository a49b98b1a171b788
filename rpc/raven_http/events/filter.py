"""Filter: the events that one viewer wants, from the parameters of its request."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from raven.errors import InputError, abbreviate
from raven.model.address import parse_address
from raven.model.limits import MAX_ID
from raven_http.events.position import Start, parse

KINDS = ("message", "receipt", "peer", "stats")
# Only to viewers that ask for it.
SERVER = "server"
MAX_PREVIEW = 1_000_000
_MAX_VALUES = 100
_MAX_TEXT = 1024


class Filter(NamedTuple):
    """The wishes of a viewer: kinds of events, and the messages that they may concern; an empty set allows all.

    A longer body than `preview` characters of JSON is left out, and its beginning is sent; None sends all bodies.
    """

    kinds: frozenset[str] = frozenset(KINDS)
    addresses: frozenset[str] = frozenset()
    sessions: frozenset[str] = frozenset()
    types: frozenset[str] = frozenset()
    preview: int | None = None

    def allows(self, sender: str, type: str, recipients: Collection[str]) -> bool:
        """Whether events of a message may be sent.

        `recipients` are those of its recipients, at least, which are among `addresses` or in one of `sessions`.
        """
        if self.types and type not in self.types:
            return False
        if self.addresses and sender not in self.addresses and self.addresses.isdisjoint(recipients):
            return False
        return not self.sessions or any(_session(one) in self.sessions for one in (sender, *recipients))

    def allows_peer(self, address: str) -> bool:
        """Whether the peer event of an address may be sent."""
        if self.addresses and address not in self.addresses:
            return False
        return not self.sessions or _session(address) in self.sessions


class Wanted(NamedTuple):
    """The wishes of one or several viewers at once."""

    filters: frozenset[Filter]
    is_logged: bool  # whether the bus has a change log

    def allows(self, kind: str, sender: str, type: str, recipients: Collection[str]) -> bool:
        """Whether any viewer may get an event."""
        return any(kind in one.kinds and one.allows(sender, type, recipients) for one in self.filters)


def _session(address: str) -> str:
    return address.partition(":")[2]


def read_query(query: Mapping[str, Sequence[str]]) -> tuple[Filter, Start]:
    """Return the filter and the start of a stream from the parameters of its request; raises InputError.

    All but `from`, `last`, `last_event_id` and `preview` may be given several times.
    """
    for name, values in query.items():
        if name not in _PARAMETERS:
            raise InputError(f"the parameter {abbreviate(name)} is not known: use {', '.join(_PARAMETERS)}")
        if name in _SINGLE and len(values) > 1:
            raise InputError(f"{name} is given {len(values)} times: give it once")
        if len(values) > _MAX_VALUES:
            raise InputError(f"{name} is given {len(values)} times, over the limit of {_MAX_VALUES}: give fewer")
    addresses = frozenset(query.get("address", ()))
    for address in addresses:
        parse_address(address)
    for name in ("session", "type"):
        for value in query.get(name, ()):
            if not 0 < len(value) <= _MAX_TEXT:
                raise InputError(f"{name} {abbreviate(value)} is not a text of 1 to {_MAX_TEXT} characters")
    kinds = frozenset(kind for value in query.get("kinds", ()) for kind in value.split(","))
    known = (*KINDS, SERVER)
    for kind in sorted(kinds - set(known)):
        raise InputError(f"kind {abbreviate(kind)} is not known: use {', '.join(known)}, joined by commas")
    preview = _number(query, "preview", MAX_PREVIEW)
    first = _number(query, "from", MAX_ID)
    last = _number(query, "last", MAX_ID)
    starts = [name for name in _STARTS if name in query]
    if len(starts) > 1:
        raise InputError(f"{' and '.join(starts)} exclude each other: give one of them")
    start = Start(last=last) if first is None else Start(max(0, first - 1))
    return (
        Filter(
            kinds or frozenset(KINDS),
            addresses,
            frozenset(query.get("session", ())),
            frozenset(query.get("type", ())),
            preview,
        ),
        parse(query["last_event_id"][0]) if "last_event_id" in query else start,
    )


def _number(query: Mapping[str, Sequence[str]], name: str, most: int) -> int | None:
    if name not in query:
        return None
    [text] = query[name]
    if not (text.isascii() and text.isdecimal() and len(text) <= 19 and int(text) <= most):
        raise InputError(f"{name} {abbreviate(text)} is not a whole number from 0 to {most}")
    return int(text)


_STARTS = ("from", "last", "last_event_id")
_SINGLE = (*_STARTS, "preview")
_PARAMETERS = (*_STARTS, "address", "session", "type", "kinds", "preview")
