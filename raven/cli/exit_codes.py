"""Exit codes: the one table from errors to exit codes."""

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

# The nearest base class of an error in this table decides.
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
MEANINGS = {
    0: "success",
    GENERAL: "any other error, or a negative result such as a failed check",
    USAGE: "wrong usage or configuration",
    3: "error of the bus file",
    4: "message not found",
    5: "body does not fit its schema",
    6: "unknown session or address",
    7: "cannot bind the socket",
    INTERRUPTED: "interrupted by Ctrl-C",
}


def exit_code_of(error: RavenError) -> int:
    """Return the exit code of an error."""
    return next(EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES)
