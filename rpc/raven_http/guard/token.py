"""Token: the secret without which a program of another user of this host cannot use the bridge.

The server keeps it in `<db>.http-token`, readable by the users of the bus file alone. It stays the same until the file
is removed, so that open pages and scripts outlive a restart of the server.

Concurrent users: servers that start at once, of which one holds the lock while it writes the token; the others wait for
the lock, and read.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat

from raven.errors import ConfigError
from raven.files import ownership

SUFFIX = ".http-token"
MIN_LENGTH, MAX_LENGTH = 16, 512
_BYTES = 32
_OWN = re.compile(rb"[0-9a-f]{64}")
# The start of a token, and the zeros that a file system may leave after a power cut: the server had not finished it.
_UNFINISHED = re.compile(rb"[0-9a-f]{0,63}\0*")
_LOCK_TIMEOUT_S = 5.0


def check_token(token: str) -> None:
    """Raise ConfigError unless a token has 16 to 512 printable ASCII characters and no space.

    The error does not show the token.
    """
    if not isinstance(token, str) or not MIN_LENGTH <= len(token) <= MAX_LENGTH:
        length = f"has {len(token)} characters" if isinstance(token, str) else f"is of type {type(token).__name__}"
        raise ConfigError(f"the token {length}: use {MIN_LENGTH} to {MAX_LENGTH} printable ASCII characters")
    if not all("!" <= character <= "~" for character in token):
        raise ConfigError("the token has a space or a character that is not printable ASCII: choose another")


def token_of(db_path: str) -> str:
    """Return the token of a bus, made first if there is none; all servers of the bus get the same one.

    A token that a crash has left unfinished is made anew. Raises ConfigError if the token file is not the server's own,
    or if other users can reach it.
    """
    path = f"{db_path}{SUFFIX}"
    try:
        descriptor = ownership.open_lock(path, ownership.lock_mode(db_path))
    except OSError as error:
        raise ConfigError(_unusable(path, error)) from None
    try:
        _lock(descriptor, path)
        content = os.read(descriptor, 4096).rstrip(b"\n")
        if _OWN.fullmatch(content):
            return content.decode("ascii")
        if not _UNFINISHED.fullmatch(content):
            raise ConfigError(f"{path} holds another text than a token: remove it, and the server makes a new one")
        token = secrets.token_hex(_BYTES)
        os.pwrite(descriptor, f"{token}\n".encode("ascii"), 0)
        os.ftruncate(descriptor, len(token) + 1)
        os.fsync(descriptor)
        return token
    except OSError as error:
        raise ConfigError(_unusable(path, error)) from None
    finally:
        os.close(descriptor)


def read_token(path: str) -> str:
    """Return the token in a file that the user names: one line, closed to other users. Raises ConfigError."""
    try:
        reason = ownership.distrust_links(path)
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        problem = os.strerror(error.errno).lower() if isinstance(error, OSError) and error.errno else "invalid path"
        raise ConfigError(f"the token file {path} cannot be read: {problem}") from None
    try:
        reason = reason or ownership.distrust(path, os.fstat(descriptor), stat.S_IFREG, private=True)
        if reason is not None:
            raise ConfigError(f"the token file does not count: {reason}")
        content = os.read(descriptor, MAX_LENGTH + 3)
    finally:
        os.close(descriptor)
    token = content.decode("latin-1").removesuffix("\n").removesuffix("\r")
    try:
        check_token(token)
    except ConfigError as error:
        raise ConfigError(f"the token file {path}: {error}, in one line") from None
    return token


def _lock(descriptor: int, path: str) -> None:
    """Lock the file; only processes of its own users can hold the lock, for the moment in which they write."""
    if not ownership.lock_within(descriptor, _LOCK_TIMEOUT_S):
        raise ConfigError(f"another process holds the lock of {path}: end it, or remove the file")


def _unusable(path: str, error: OSError) -> str:
    """Return why the token file cannot be used, and the remedy."""
    if error.errno == errno.EPERM and error.filename == path and error.strerror:  # from `open_lock`: another user's
        return f"{error.strerror}; if other users may have read the token, remove the file: the server makes a new one"
    if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
        return f"{path} is {ownership.describe_kind(os.lstat(path))}, not a file: remove it"
    problem = os.strerror(error.errno).lower() if error.errno else "it cannot be opened"
    return f"the token file {path} cannot be used: {problem}; name another with --token-file"
