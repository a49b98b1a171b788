"""Exchange: the requests, replies and notifications of one connection, as bytes and values; no I/O.

A connection writes the bytes that `request` returns and feeds the bytes that it reads. The exchange says which reply
belongs to the request, and keeps the notifications that come before it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from raven.errors import BodyError, LostError, ServerError, UnreachableError, abbreviate
from raven.model.message import Message
from raven_rpc.jsonrpc import errors, messages

JsonObject = dict[str, Any]
_T = TypeVar("_T")


class Exchange:
    """The two directions of one connection: requests into bytes, bytes into replies and notifications.

    One request waits for its reply at a time. `path` is only used in errors.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._buffer = bytearray()
        self._notifications: deque[JsonObject] = deque()
        self._last = 0

    def request(self, method: str, params: dict[str, Any] | list[Any]) -> bytes:
        """Return a request as a line, with a number of its own; raises BodyError for a value that JSON cannot hold."""
        self._last += 1
        try:
            return messages.encode(messages.request(self._last, method, params))
        except RecursionError:
            raise BodyError("body nests too deep: flatten it") from None
        except (TypeError, ValueError) as error:
            raise BodyError(f"body is not JSON: {error}; send text, numbers, lists and dicts with text keys") from None

    def feed(self, data: bytes) -> None:
        """Add received bytes; raises LostError for empty bytes, which are the end of the stream."""
        if not data:
            raise lost(self.path)
        self._buffer += data

    def reply(self) -> JsonObject | None:
        """Return the response to the last request, or None until it is complete; raises ServerError for other lines."""
        while (line := self._pop_line()) is not None:
            if "method" in line:
                self._notifications.append(line)
            elif line.get("id") in (self._last, None):
                return line
        return None

    def notification(self) -> JsonObject | None:
        """Return the next notification, or None until it is complete; drops responses that come too late."""
        if self._notifications:
            return self._notifications.popleft()
        while (line := self._pop_line()) is not None:
            if "method" in line:
                return line
        return None

    def close_reason(self) -> JsonObject | None:
        """Raise the error that the server wrote before it closed: too many connections, or a user without access.

        Returns the next line if it is not such an error, and None until it is complete.
        """
        line = self._pop_line()
        if line is not None and line.get("id") is None and "error" in line:
            result_of(line)
        return line

    def _pop_line(self) -> JsonObject | None:
        end = self._buffer.find(b"\n")
        if end < 0:
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return _decoded(line)


def result_of(response: JsonObject) -> Any:
    """Return the result that a response holds, or raise its error; ServerError if it holds neither."""
    if "error" in response:
        raise errors.from_wire(response["error"])
    try:
        return response["result"]
    except KeyError as error:
        raise _strange(error) from None


def decode_as(make: Callable[[Any], _T], result: Any) -> _T:
    """Return the value that `make` builds of a result; raises ServerError for a result of another shape."""
    try:
        return make(result)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _strange(error) from None


def message_of(notification: JsonObject) -> Message | None:
    """Return the message of a notification, or None if it ends the subscription; raises the error that it holds."""
    if notification["method"] != "end":
        return decode_as(lambda value: Message.from_dict(value["params"]["message"]), notification)
    params = notification.get("params")
    if isinstance(params, dict) and "error" in params:
        raise errors.from_wire(params["error"])
    return None


def leased_until(notification: JsonObject) -> str | None:
    """Return until when a pushed message is leased at least; None for one that is not, or from an older server."""
    params = notification.get("params")
    return params.get("leased_until") if isinstance(params, dict) else None


def lost(path: str) -> LostError:
    """Return the error for a connection that ended."""
    return LostError(
        f"the connection to {path} was lost: the call may have been done, or not; repeat a send only with a dedup_key"
    )


def timeout_error(path: str, method: str, timeout_s: float) -> LostError:
    """Return the error for a reply that did not come in time."""
    return LostError(f"no answer to {method} came from {path} within {timeout_s:g} s: it may have been done")


def unreachable(path: str, error: OSError) -> UnreachableError:
    """Return the error for a socket that cannot be connected to."""
    reason = "no process listens there" if isinstance(error, ConnectionRefusedError) else error.strerror or str(error)
    return UnreachableError(f"the server cannot be reached at {path}: {reason}; start `raven serve`, or give --db")


def _strange(error: Exception) -> ServerError:
    return ServerError(f"the server's answer has a form that this version of raven does not know: {abbreviate(error)}")


def _decoded(line: bytes) -> JsonObject:
    """Return the object that a line holds; raises ServerError if the line is not JSON-RPC."""
    try:
        value = messages.parse(line)
    except messages.ParseError as error:
        raise ServerError(f"the program at this socket is not a raven server: {error}") from None
    if not isinstance(value, dict):
        raise ServerError(f"the program at this socket is not a raven server: {abbreviate(value)}")
    return value
