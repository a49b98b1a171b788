"""Addresses: the only parser of `<role>:<session>`, of broadcast patterns and of lists of both."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from raven.errors import AddressError, abbreviate

WILDCARD = "*"
MAX_LENGTH = 512
# The role of a private reply address ends with this mark and 16 hexadecimal digits.
PRIVATE_MARK = "+"
PRIVATE_BYTES = 8
_HEX = frozenset("0123456789abcdef")
# Control characters, line and paragraph separators, and surrogates, which UTF-8 cannot encode.
_FORBIDDEN_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})
_EXAMPLE = "write it as <role>:<session>, for example architect:swarm-1"


class Address(NamedTuple):
    """A role in a session; either part is `*` in a broadcast pattern.

    >>> parse_address("architect:swarm-1").role
    'architect'
    """

    role: str
    session: str

    def __str__(self) -> str:
        return f"{self.role}:{self.session}"

    @property
    def is_pattern(self) -> bool:
        """Whether this is a broadcast pattern, for all registered addresses that match it."""
        return WILDCARD in (self.role, self.session)


def make_address(session: str, role: str) -> Address:
    """Build an address from its two parts; raises AddressError that names the bad part."""
    address = Address(role, session)
    for name, part in (("session", session), ("role", role)):
        problem = _problem_of(part)
        if problem:
            raise AddressError(f"{name} {abbreviate(part)} {problem}")
    _check_length(str(address))
    return address


def parse_address(text: str) -> Address:
    """Parse an address; raises AddressError for a broadcast pattern or malformed text."""
    address = parse_target(text)
    if address.is_pattern:
        raise AddressError(f"address {abbreviate(text)} is a broadcast pattern, but one address is needed; {_EXAMPLE}")
    return address


def parse_target(text: str) -> Address:
    """Parse an address or a broadcast pattern; raises AddressError that names the value and the remedy."""
    if not isinstance(text, str):
        raise AddressError(f"address {abbreviate(text)} is not a string; {_EXAMPLE}")
    return parse_text(text)


@lru_cache(maxsize=4096)
def parse_text(text: str) -> Address:
    """Do as `parse_target` does for a str, with a cache of the latest 4,096 texts."""
    _check_length(text)
    role, colon, session = text.partition(":")
    if not colon:
        raise AddressError(f"address {abbreviate(text)} has no ':'; {_EXAMPLE}")
    for name, part in (("role", role), ("session", session)):
        problem = None if part == WILDCARD else _problem_of(part)
        if problem:
            raise AddressError(f"address {abbreviate(text)}: its {name} {problem}; {_EXAMPLE}")
    return Address(role, session)


def parse_targets(to: str | Sequence[str]) -> dict[str, Address]:
    """Parse the `to` of `send`, one target or a list of targets; returns each distinct text with its address."""
    if isinstance(to, str):
        return {to: parse_target(to)}
    if not isinstance(to, Sequence) or isinstance(to, bytes | bytearray):
        raise AddressError(f"to is a {type(to).__name__}, not an address or a list of addresses; {_EXAMPLE}")
    if not to:
        raise AddressError(f"to is an empty list: name at least one address; {_EXAMPLE}")
    for item in to:
        if not isinstance(item, str):
            raise AddressError(f"address {abbreviate(item)} is not a string; {_EXAMPLE}")
    return {item: parse_target(item) for item in to}


def is_private(address: str) -> bool:
    """Whether this is the private address at which one sender waits for the reply to one request."""
    role = address.partition(":")[0]
    return role[-17:-16] == PRIVATE_MARK and _HEX.issuperset(role[-16:])


def _check_length(text: str) -> None:
    if len(text) > MAX_LENGTH:
        raise AddressError(f"address {abbreviate(text)} has {len(text)} characters; the limit is {MAX_LENGTH}")


def _problem_of(part: str) -> str | None:
    """Return the problem of a role or a session as text; None if it is valid."""
    if not isinstance(part, str):
        return f"is a {type(part).__name__}, not a string"
    if not part:
        return "is empty"
    if ":" in part or WILDCARD in part:
        return f"contains '{':' if ':' in part else WILDCARD}', which is reserved in addresses"
    if part != part.strip():
        return "begins or ends with a blank"
    if not part.isascii() or not part.isprintable():
        import unicodedata

        for char in part:
            if unicodedata.category(char) in _FORBIDDEN_CATEGORIES:
                return f"contains the control character U+{ord(char):04X}"
    return None
