"""Unix socket: binds the server's socket in the file system, and identifies the process at the other end."""

from __future__ import annotations

import array
import errno
import fcntl
import logging
import os
import select
import socket
import stat
import struct
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from raven.errors import BindError, ForbiddenError, abbreviate
from raven.files import ownership

if TYPE_CHECKING:
    import asyncio

# The size of `sun_path`, with its terminating NUL: unix(7); 104 on macOS.
_PATH_SIZE = 108 if sys.platform == "linux" else 104
BACKLOG = 4096
_FIRST_INHERITED_FD = 3
# Linux reports by POLLRDHUP that the other end writes no more; POLLHUP, that it does not read either, comes unasked.
_ENDED = getattr(select, "POLLRDHUP", 0)
_LOCK_TIMEOUT_S = 5.0
_LOCK_NAP_S = 0.01


def check_length(path: str) -> None:
    """Raise BindError if a path does not fit into a socket address."""
    length = len(os.fsencode(path))
    if length >= _PATH_SIZE:
        raise BindError(
            f"the socket path {path} has {length} bytes, but the system takes at most {_PATH_SIZE - 1}: "
            "choose a shorter one, or change into its folder and give its name"
        )


class ListeningSocket:
    """A listening Unix socket at a path that no other server uses, open to its owner alone from the first instant.

    The stale socket of a dead server is replaced; a socket that answers is not, nor is any other kind of file.
    With `others` any user may connect: check each with `peer_uid`. Raises BindError.
    """

    def __init__(self, path: str, *, others: bool = False) -> None:
        check_length(path)
        self.path = path
        folder = os.path.dirname(os.path.abspath(path))
        _warn_if_writable(folder)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with _bind_lock(path):
                _remove_stale(path)
                self._bind(0o666 if others else 0o600)
                self._inode = _inode(path)
                # Still under the lock: a bound socket that does not listen yet looks stale to another server.
                self.socket.listen(BACKLOG)
        except OSError as error:
            self.socket.close()
            raise BindError(f"the socket {path} cannot be made: {error.strerror}; choose another") from None
        except BaseException:
            self.socket.close()
            raise

    def remove(self) -> None:
        """Unlink the socket, unless its path is another socket by now."""
        with suppress(OSError):
            if _inode(self.path) == self._inode:
                os.unlink(self.path)

    def _bind(self, mode: int) -> None:
        before = os.umask(0o777 & ~mode)
        try:
            self.socket.bind(self.path)
        finally:
            os.umask(before)


class InheritedSocket:
    """The listening socket that systemd has passed to this process (sd_listen_fds(3)); `remove` leaves it."""

    def __init__(self) -> None:
        count = os.environ.pop("LISTEN_FDS")
        os.environ.pop("LISTEN_PID", None)
        os.environ.pop("LISTEN_FDNAMES", None)
        if count != "1":
            raise BindError(f"LISTEN_FDS is {abbreviate(count)}: pass exactly one listening Unix socket")
        os.set_inheritable(_FIRST_INHERITED_FD, False)
        try:
            self.socket = socket.socket(fileno=_FIRST_INHERITED_FD)
        except OSError as error:
            raise BindError(f"descriptor 3, passed by LISTEN_FDS, is not a socket: {error.strerror}") from None
        listens = self.socket.family == socket.AF_UNIX and self.socket.type == socket.SOCK_STREAM
        if not listens or not self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise BindError("descriptor 3, passed by LISTEN_FDS, is not a listening Unix stream socket")
        self.path = str(self.socket.getsockname())

    def remove(self) -> None:
        """Do nothing: the socket belongs to systemd."""


def is_inherited() -> bool:
    """Whether systemd has passed a listening socket to this process."""
    return "LISTEN_FDS" in os.environ and os.environ.get("LISTEN_PID") == str(os.getpid())


def peer_uid(connection: socket.socket) -> int:
    """Return the user id of the connected process, which the kernel recorded at its `connect`."""
    if sys.platform == "linux":
        size = struct.calcsize("3i")
        return int(struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))[1])
    # struct xucred of macOS: a version, then the uid.
    return int(struct.unpack("2I", connection.getsockopt(0, 1, 8))[1])


def check_server(connection: socket.socket, path: str) -> None:
    """Raise ForbiddenError if the process that listens at the other end is not this user's, root's or trusted."""
    uid = peer_uid(connection)
    if not ownership.is_trusted(uid):
        raise ForbiddenError(
            f"the server at {path} runs as {ownership.user_name(uid)}, who would read what you send: choose another "
            f"socket, or set {ownership.TRUSTED_UIDS}={uid} if you trust that user"
        )


def unsent_bytes(transport: asyncio.WriteTransport) -> int:
    """Return how many written bytes the other end has not read, as far as the system tells."""
    size = transport.get_write_buffer_size()
    if sys.platform == "linux":
        queued = array.array("i", [0])
        with suppress(OSError):
            fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, queued)
        size += queued[0]
    return size


def peer_closed(transport: asyncio.WriteTransport) -> bool:
    """Whether the other end has closed both directions; False on systems that cannot tell it from a half-close.

    Linux reports POLLHUP once the other end cannot read any more (unix(7), poll(2)).
    """
    if sys.platform != "linux":
        return False
    poller = select.poll()
    poller.register(transport.get_extra_info("socket").fileno(), 0)
    return any(event & select.POLLHUP for _, event in poller.poll(0))


def shut_down(transport: asyncio.Transport) -> None:
    """Let the other end see the end of the connection now, and not only when the transport is closed."""
    with suppress(OSError):
        transport.get_extra_info("socket").shutdown(socket.SHUT_RDWR)


def end_poll(connection: socket.socket) -> select.poll:
    """Return an object that reports when the other end has closed a connection, even if data of it is unread."""
    poller = select.poll()
    poller.register(connection, _ENDED)
    return poller


@contextmanager
def _bind_lock(path: str) -> Iterator[None]:
    """Lock a file beside the socket, so that no other server replaces a stale socket there at the same time.

    Other users cannot open that file, and so not lock it. The last holder removes it.
    """
    lock = f"{path}.lock"
    give_up_at = time.monotonic() + _LOCK_TIMEOUT_S
    while True:
        try:
            descriptor = ownership.open_lock(lock)
        except PermissionError as error:
            raise BindError(f"the lock of the socket cannot be taken: {error.strerror}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Its last holder may have removed it since it was opened.
            if os.fstat(descriptor).st_nlink:
                break
        except BlockingIOError:
            if time.monotonic() > give_up_at:
                os.close(descriptor)
                raise BindError(f"{lock} is locked by another program: try again, or find that program") from None
            time.sleep(_LOCK_NAP_S)
        os.close(descriptor)
    try:
        yield
    finally:
        with suppress(OSError):
            os.unlink(lock)
        os.close(descriptor)


def _warn_if_writable(folder: str) -> None:
    """Log a warning if any user may replace the socket in its folder."""
    with suppress(OSError):
        if os.stat(folder).st_mode & (stat.S_IWOTH | stat.S_ISVTX) == stat.S_IWOTH:
            logging.getLogger("raven").warning(
                "any user can replace the socket, because all users may write its folder %s: run `chmod o-w` or "
                "`chmod +t` on it, or choose another path",
                folder,
            )


def _remove_stale(path: str) -> None:
    """Unlink a socket that no process listens at; raises BindError for anything else at the path."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise BindError(f"{path} is {ownership.describe_kind(status)}, not a socket: choose another path")
    if not ownership.is_trusted(status.st_uid):
        raise BindError(f"{path} is a socket of {ownership.user_name(status.st_uid)}: choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except OSError as error:
            if error.errno == errno.ECONNREFUSED:
                os.unlink(path)
                return
            if error.errno == errno.ENOENT:
                return
            if error.errno not in (errno.EAGAIN, errno.EINPROGRESS):
                raise BindError(
                    f"another program's socket is at {path} ({error.strerror}): choose another path"
                ) from None
    raise BindError(f"another server is listening at {path}: use it, stop it, or choose another path")


def _inode(path: str) -> tuple[int, int]:
    status = os.lstat(path)
    return status.st_ino, status.st_dev
