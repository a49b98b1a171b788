"""Limits: the numbers that a bus allows, and the checks that name a number outside of them."""

from __future__ import annotations

from raven.errors import InputError, MessageNotFoundError
from raven.model import clock

# What leaves room in 63 bits for the place of a recipient behind the id of a message.
MAX_ID = (1 << 43) - 1
MAX_ATTEMPTS = 1_000_000
DEFAULT_MAX_ATTEMPTS = 5
DEFAULT_MAX_BYTES = 4 * 1024 * 1024
MAX_SPAN_S = 100 * 365 * 86400
MAX_REQUEST_S = 7 * 86400
_MAX_LEASE_S = 86400
_MAX_POLL_S = 3600
_END_OF_TOKENS = 1 << 63


def is_integer(value: object, low: int, high: int) -> bool:
    """Whether a value is an integer from `low` to `high`; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def is_number(value: object, low: float, high: float, *, above: bool = False) -> bool:
    """Whether a value is a number from `low` (or, with `above`, from above it) to `high`; True and False are none."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return (low < value if above else low <= value) and value <= high


def check_id(message_id: object) -> None:
    """Refuse what cannot be the id of a message: InputError, or MessageNotFoundError for a number out of range."""
    if not isinstance(message_id, int) or isinstance(message_id, bool):
        raise InputError(f"id {message_id!r} is not a number: give the one that send or inbox showed")
    if not 0 < message_id <= MAX_ID:
        raise MessageNotFoundError(f"there is no message #{message_id}: ids run from 1 to {MAX_ID}")


def check_max(max: object) -> None:
    """Refuse a `max` that is not a number of messages; raises InputError."""
    if not is_integer(max, 1, MAX_ID):
        raise InputError(f"max {max!r} is not a number of messages: use 1 or more, at most {MAX_ID}")


def check_max_attempts(max_attempts: object) -> None:
    """Refuse what is no number of attempts; None stands for the default. Raises InputError."""
    if max_attempts is not None and not is_integer(max_attempts, 1, MAX_ATTEMPTS):
        raise InputError(f"max_attempts {max_attempts!r} is not a number of attempts: use 1 to {MAX_ATTEMPTS:,}")


def check_token(lease: object) -> None:
    """Refuse what is no token of a lease; None stands for none. Raises InputError."""
    if lease is not None and not is_integer(lease, 1, _END_OF_TOKENS - 1):
        raise InputError(f"lease {lease!r} is not the token of a lease: give the one that the message has")


def check_lease(lease_s: object) -> None:
    """Refuse what is no span for a lease; raises InputError."""
    if not is_number(lease_s, 0, _MAX_LEASE_S, above=True):
        raise InputError(f"lease_s {lease_s!r} is out of range: use more than 0, up to {_MAX_LEASE_S} seconds")


def check_poll_interval(poll_interval_s: object) -> None:
    """Refuse what is no pause between two looks; raises InputError."""
    if not is_number(poll_interval_s, 0, _MAX_POLL_S, above=True):
        raise InputError(
            f"poll_interval_s {poll_interval_s!r} is out of range: use more than 0, up to {_MAX_POLL_S} seconds"
        )


def check_span(name: str, seconds: float | None, least: float) -> int | None:
    """Return a span of seconds in microseconds; raises InputError where it is less than `least`, or endless."""
    if seconds is None:
        return None
    if not is_number(seconds, least, MAX_SPAN_S):
        bound = "above 0" if least else "0 or more"
        raise InputError(f"{name} {seconds!r} is not a number of seconds {bound} (and at most 100 years)")
    return clock.to_micros(seconds)
