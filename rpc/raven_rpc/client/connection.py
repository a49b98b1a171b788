"""Connection: one blocking socket to the server."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any, TypeVar

from raven.errors import LostError
from raven_rpc.client.exchange import Exchange, JsonObject, result_of, timeout_error, unreachable
from raven_rpc.jsonrpc import unix_socket

CHUNK = 1 << 18
_T = TypeVar("_T")


class Connection:
    """A connection for the calls of one thread; it keeps notifications that come before a reply.

    Raises UnreachableError, or ForbiddenError if another user's process listens at the socket.
    """

    def __init__(self, path: str, timeout_s: float) -> None:
        unix_socket.check_length(path)
        self.path = path
        self._pid = os.getpid()
        self._timeout_s = timeout_s
        self._exchange = Exchange(path)
        self._is_closed = False
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout_s)
        self._end_poll = unix_socket.end_poll(self._socket)
        try:
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            raise unreachable(path, error) from None
        try:
            unix_socket.check_server(self._socket, path)
        except BaseException:
            self._socket.close()
            raise

    def is_dead(self) -> bool:
        """Whether the other end has closed the connection, or this process is a fork of the one that opened it."""
        if self._pid != os.getpid() or self._is_closed:
            return True
        if not self._is_readable(time.monotonic()):
            return False
        try:
            return self._socket.recv(1, socket.MSG_PEEK) == b""
        except OSError:
            return True

    def has_ended(self) -> bool:
        """Whether the other end has closed the connection, even if data that it wrote before is unread."""
        return self._is_closed or bool(self._end_poll.poll(0))

    def ask(self, method: str, params: dict[str, Any] | list[Any], wait_s: float | None = 0.0) -> Any:
        """Call a method and return its result; raises its error, UnreachableError if nothing was sent, or LostError.

        The reply may take `wait_s` seconds longer than the usual timeout, or any time if `wait_s` is None.
        """
        line = self._exchange.request(method, params)
        try:
            self._socket.sendall(line)
        except TimeoutError:
            # The server has a part of the line, and takes the end of the connection for the end of the line.
            self.close()
            raise timeout_error(self.path, method, self._timeout_s) from None
        except OSError as error:
            # The server may have written the reason before it closed: too many connections, or a user without access.
            with suppress(LostError), closing(self):
                self._read_until(self._exchange.close_reason, time.monotonic())
            raise unreachable(self.path, error) from None
        limit_s = None if wait_s is None else self._timeout_s + wait_s
        response = self._read_until(self._exchange.reply, None if limit_s is None else time.monotonic() + limit_s)
        if response is None:
            self.close()
            raise timeout_error(self.path, method, limit_s or 0.0)
        return result_of(response)

    def next_notification(self, timeout_s: float | None) -> JsonObject | None:
        """Return the next notification, or None at the timeout; LostError when the connection ends."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        return self._read_until(self._exchange.notification, deadline)

    def close(self) -> None:
        """Close the connection and wake a thread that waits at it. In a forked child it stays open in the parent."""
        if not self._is_closed:
            self._is_closed = True
            if self._pid == os.getpid():
                with suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()

    def _read_until(self, step: Callable[[], _T | None], deadline: float | None) -> _T | None:
        """Read until a step of the exchange returns a value, and return that, or None at the deadline."""
        while (value := step()) is None:
            if not self._is_readable(deadline):
                return None
            try:
                data = self._socket.recv(CHUNK)
            except OSError:
                data = b""
            if not data:
                self.close()
            self._exchange.feed(data)
        return value

    def _is_readable(self, deadline: float | None) -> bool:
        poller = select.poll()
        try:
            poller.register(self._socket, select.POLLIN)
        except (OSError, ValueError):
            return True  # closed by another thread: the next read says so
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            # In slices of 1 s, so that the handler of a signal that another thread received can run.
            if poller.poll(1000 if left is None else 1000 * min(left, 1.0)):
                return True
            if left == 0 or self._is_closed:
                return self._is_closed
