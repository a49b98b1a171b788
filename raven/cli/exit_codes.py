"""Exit codes: the one table from errors to what a script sees."""

from __future__ import annotations

from raven.errors import (
    BindError,
    ConfigError,
    DatabaseError,
    InputError,
    MessageNotFoundError,
    RavenError,
    SchemaValidationError,
    UnknownAddressError,
)

GENERAL = 1
USAGE = 2
INTERRUPTED = 130

# An error takes the code of the nearest class above it that stands here.
EXIT_CODES: dict[type[RavenError], int] = {
    RavenError: GENERAL,
    InputError: USAGE,
    ConfigError: USAGE,
    DatabaseError: 3,
    MessageNotFoundError: 4,
    SchemaValidationError: 5,
    UnknownAddressError: 6,
    BindError: 7,
}


def exit_code_of(error: RavenError) -> int:
    """Return the exit code of an error."""
    return next(EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES)
