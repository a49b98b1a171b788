"""Limits: the ranges of a bus's numbers, and checks that raise InputError with the bad value."""

from __future__ import annotations

from raven.errors import InputError, MessageNotFoundError, abbreviate
from raven.model import clock

# A delivery's id is the message id and 20 bits of the recipient's ordinal, in SQLite's 63 bits.
MAX_ID = (1 << 43) - 1
MAX_ATTEMPTS = 1_000_000
DEFAULT_MAX_ATTEMPTS = 5
DEFAULT_MAX_BYTES = 4 * 1024 * 1024
# A page of messages is at most this long as JSON text. A message over it is shown cut: see `cut_row`.
MAX_PAGE_BYTES = 16 * 1024 * 1024
# The lease of messages that a server pushes with manual acks; it renews the lease three times within this time.
PUSH_LEASE_S = 30.0
MAX_SPAN_S = 100 * 365 * 86400
MAX_REQUEST_S = 7 * 86400
# Finished messages stay for this time, so that their senders can still ask for receipts.
GRACE_S = 60.0
_MAX_LEASE_S = 86400
_MAX_POLL_S = 3600
_END_OF_TOKENS = 1 << 63


# The types of raven's own messages begin with this; nothing else may send such a type.
RESERVED_PREFIX = "raven."


def is_integer(value: object, low: int, high: int) -> bool:
    """Whether a value is an integer from `low` to `high`; a bool is not."""
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def is_number(value: object, low: float, high: float, *, above: bool = False) -> bool:
    """Whether a value is a number from `low` (exclusive with `above`) to `high`; a bool is not."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return (low < value if above else low <= value) and value <= high


def check_id(message_id: object) -> None:
    """Raise InputError unless `message_id` is an integer, and MessageNotFoundError if it is out of range."""
    if not isinstance(message_id, int) or isinstance(message_id, bool):
        raise InputError(f"id {abbreviate(message_id)} is not a number: give the one that send or inbox showed")
    if not 0 < message_id <= MAX_ID:
        raise MessageNotFoundError(f"there is no message #{abbreviate(message_id)}: ids run from 1 to {MAX_ID}")


def check_max(max: object) -> None:
    """Raise InputError unless `max` is a number of messages."""
    if not is_integer(max, 1, MAX_ID):
        raise InputError(f"max {abbreviate(max)} is not a number of messages: use 1 or more, at most {MAX_ID}")


def check_max_attempts(max_attempts: object) -> None:
    """Raise InputError unless `max_attempts` is a number of attempts, or None for the default."""
    if max_attempts is not None and not is_integer(max_attempts, 1, MAX_ATTEMPTS):
        raise InputError(
            f"max_attempts {abbreviate(max_attempts)} is not a number of attempts: use 1 to {MAX_ATTEMPTS:,}"
        )


def refuse_reserved(type: str) -> None:
    """Raise InputError for a type that begins as the types of raven's own messages do."""
    raise InputError(f"type {abbreviate(type)} begins with 'raven.', as only raven's own messages do: rename it")


def check_token(lease: object) -> None:
    """Raise InputError unless `lease` is a lease token or None."""
    if lease is not None and not is_integer(lease, 1, _END_OF_TOKENS - 1):
        raise InputError(f"lease {abbreviate(lease)} is not a lease token: give the `lease` of the claimed message")


def check_lease(lease_s: object) -> None:
    """Raise InputError unless `lease_s` is a valid lease duration."""
    if not is_number(lease_s, 0, _MAX_LEASE_S, above=True):
        raise InputError(
            f"lease_s {abbreviate(lease_s)} is out of range: use more than 0, up to {_MAX_LEASE_S} seconds"
        )


def check_poll_interval(poll_interval_s: object) -> None:
    """Raise InputError unless `poll_interval_s` is a valid interval."""
    if not is_number(poll_interval_s, 0, _MAX_POLL_S, above=True):
        raise InputError(
            f"poll_interval_s {abbreviate(poll_interval_s)} is out of range: "
            f"use more than 0, up to {_MAX_POLL_S} seconds"
        )


def check_span(name: str, seconds: float | None, least: float) -> int | None:
    """Return seconds as microseconds, None as None; raises InputError outside of `least` to 100 years."""
    if seconds is None:
        return None
    if not is_number(seconds, least, MAX_SPAN_S):
        bound = "above 0" if least else "0 or more"
        raise InputError(f"{name} {abbreviate(seconds)} is not a number of seconds {bound} (and at most 100 years)")
    return clock.to_micros(seconds)
