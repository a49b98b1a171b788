"""Wire: one blocking connection to the helper, from Python."""

from __future__ import annotations

import os
import select
import socket
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from raven import BodyError, HelperError, LostError, Message, UnreachableError
from raven_rpc.jsonrpc import errors as faults
from raven_rpc.jsonrpc import messages as protocol
from raven_rpc.jsonrpc import unix_socket as sockets

CHUNK = 1 << 18
_T = TypeVar("_T")


def encode_request(number: int, method: str, params: dict[str, Any] | list[Any]) -> bytes:
    """Return a request as a line; raises BodyError for what JSON cannot hold."""
    try:
        return protocol.encode(protocol.request(number, method, params))
    except RecursionError:
        raise BodyError("body nests too deep: flatten it") from None
    except (TypeError, ValueError) as error:
        raise BodyError(f"body is not JSON: {error}; send text, numbers, lists and dicts with text keys") from None


def result_of(shape: dict[str, Any]) -> Any:
    """Return the result that a response holds, or raise the error; HelperError where it holds neither."""
    if "error" in shape:
        raise faults.from_wire(shape["error"])
    return shaped(lambda found: found["result"], shape)


def shaped(make: Callable[[Any], _T], result: Any) -> _T:
    """Return what is made of a result; raises HelperError for one of another shape."""
    try:
        return make(result)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise HelperError(f"the helper answered in another shape than this raven knows: {error!r}") from None


def raise_farewell(shape: dict[str, Any] | None) -> None:
    """Raise what the helper said before it closed: one connection too many, or the wrong user."""
    if shape is not None and shape.get("id") is None and "error" in shape:
        result_of(shape)


def decode(line: bytes) -> dict[str, Any]:
    """Return a line that the helper wrote; raises HelperError for what is none of JSON-RPC."""
    try:
        shape = protocol.parse(line)
    except protocol.ParseError as error:
        raise HelperError(f"what answers there is no helper of raven: {error}") from None
    if not isinstance(shape, dict):
        raise HelperError(f"what answers there is no helper of raven: {shape!r}")
    return shape


def message_of(push: dict[str, Any]) -> Message | None:
    """Return the message of a notification, None where it says that nothing more will come; raises its error."""
    if push["method"] != "end":
        return shaped(lambda found: Message.from_dict(found["params"]["message"]), push)
    told = push.get("params")
    if isinstance(told, dict) and "error" in told:
        raise faults.from_wire(told["error"])
    return None


def take_line(buffer: bytearray) -> dict[str, Any] | None:
    """Take the first line out of what came in and return its value, or None where no line is whole yet."""
    end = buffer.find(b"\n")
    if end < 0:
        return None
    line = bytes(buffer[:end])
    del buffer[: end + 1]
    return decode(line)


def lost(path: str) -> LostError:
    """Return the error for a connection that ended."""
    return LostError(f"the connection to {path} was lost: what was asked may have been done, or not")


def unanswered(path: str, method: str, timeout_s: float) -> LostError:
    """Return the error for an answer that was waited for in vain."""
    return LostError(f"no answer to {method} came from {path} within {timeout_s:g} s: it may have been done")


def unreachable(path: str, error: OSError) -> UnreachableError:
    """Return the error for a socket that cannot be connected to."""
    reason = "nobody listens there" if isinstance(error, ConnectionRefusedError) else error.strerror or str(error)
    return UnreachableError(f"the helper cannot be reached at {path}: {reason}; start `raven serve`, or give --db")


class Wire:
    """A connection on which one thread asks; what is pushed meanwhile is kept. Raises UnreachableError."""

    def __init__(self, path: str, timeout_s: float) -> None:
        sockets.check_length(path)
        self.path = path
        self.pid = os.getpid()
        self._timeout_s = timeout_s
        self._pushes: deque[dict[str, Any]] = deque()
        self._buffer = bytearray()
        self._last = 0
        self._is_closed = False
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout_s)
        try:
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            raise unreachable(path, error) from None

    def is_dead(self) -> bool:
        """Whether the other end has closed the connection, or this process was forked since."""
        if self.pid != os.getpid() or self._is_closed:
            return True
        if not self._is_readable(time.monotonic()):
            return False
        try:
            return self._socket.recv(1, socket.MSG_PEEK) == b""
        except OSError:
            return True

    def ask(self, method: str, params: dict[str, Any] | list[Any], wait_s: float | None = 0.0) -> Any:
        """Call a method and return its result; raises its error, UnreachableError if it never began, or LostError.

        The answer may take `wait_s` seconds longer than answers do, or any time where that is None.
        """
        self._last += 1
        line = encode_request(self._last, method, params)
        try:
            self._socket.sendall(line)
        except OSError as error:
            # The helper may have said why before it closed: one connection too many, or the wrong user.
            self._raise_farewell()
            self.close()
            raise unreachable(self.path, error) from None
        limit_s = None if wait_s is None else self._timeout_s + wait_s
        deadline = None if limit_s is None else time.monotonic() + limit_s
        while True:
            shape = self._read(deadline)
            if shape is None:
                self.close()
                raise unanswered(self.path, method, limit_s or 0.0)
            if "method" in shape:
                self._pushes.append(shape)
            elif shape.get("id") == self._last or shape.get("id") is None:
                return result_of(shape)

    def next_push(self, timeout_s: float | None) -> dict[str, Any] | None:
        """Return the next notification, or None when the time is over; LostError when the connection is."""
        if self._pushes:
            return self._pushes.popleft()
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            shape = self._read(deadline)
            if shape is None or "method" in shape:
                return shape

    def close(self) -> None:
        """Close the connection; a thread that waits at it is woken. Twice is allowed, a forked child's copy is left."""
        if not self._is_closed:
            self._is_closed = True
            if self.pid == os.getpid():
                with suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()

    def _read(self, deadline: float | None) -> dict[str, Any] | None:
        """Return the next line's value, or None at the deadline."""
        while (shape := take_line(self._buffer)) is None:
            if not self._is_readable(deadline):
                return None
            try:
                data = self._socket.recv(CHUNK)
            except OSError:
                data = b""
            if not data:
                self.close()
                raise lost(self.path)
            self._buffer += data
        return shape

    def _is_readable(self, deadline: float | None) -> bool:
        poller = select.poll()
        try:
            poller.register(self._socket, select.POLLIN)
        except (OSError, ValueError):
            return True  # closed by another thread: the next read says so
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            # In slices, so that the handler of a signal that another thread has got can run.
            if poller.poll(1000 if left is None else 1000 * min(left, 1.0)):
                return True
            if left == 0 or self._is_closed:
                return self._is_closed

    def _raise_farewell(self) -> None:
        with suppress(LostError):
            shape = self._read(time.monotonic())
            self.close()
            raise_farewell(shape)
