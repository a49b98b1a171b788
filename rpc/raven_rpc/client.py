"""Client: the bus through the helper's socket, with the methods and types of `raven.BusClient`."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar
from weakref import WeakSet

from raven import (
    AckMode,
    ClosedError,
    Draft,
    HelperError,
    LostError,
    Message,
    Peer,
    UnreachableError,
    Urgency,
    make_draft,
    make_drafts,
)
from raven_rpc.wire import Wire

if TYPE_CHECKING:
    from raven_rpc.async_messages import AsyncMessages
    from raven_rpc.streams import Stream

_T = TypeVar("_T")
# What is sent is checked here, as BusClient checks it; who may send, and how much, is the helper's to say.
_ANYBODY = "anybody:here"
_NO_LIMIT = 1 << 62
_FIRST_PAUSE_S = 0.02
_LONGEST_PAUSE_S = 1.0


class Client:
    """One identity on the bus behind a helper's socket.

    >>> bus = Client("bus.db.sock", address="architect:swarm-1")
    >>> bus.send("verifier:swarm-1", "plan", {"step": 1})
    >>> for msg in bus.inbox():
    ...     bus.ack(msg.id)

    Without `address` it is the one that the socket is bound to, or nobody, who only looks. Any thread may use a client.
    It connects when it is first used, and again when the connection was lost, for up to `patience_s` seconds, with
    growing pauses: then UnreachableError. What may have been done already is not asked twice unless that makes no
    difference; a `send` without `dedup_key` then raises LostError.
    """

    def __init__(
        self, socket_path: str, address: str | None = None, *, timeout_s: float = 30.0, patience_s: float = 5.0
    ) -> None:
        self._path = str(socket_path)
        self._address = address
        self._timeout_s = timeout_s
        self._patience_s = patience_s
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._wire: Wire | None = None
        self._streams: WeakSet[Stream | AsyncMessages] = WeakSet()
        self._is_closed = False

    @property
    def address(self) -> str | None:
        """This client's own address; that of a bound socket where none was given."""
        if self._address is None:
            self._address = self._call("hello")["as"]
        return self._address

    @property
    def db_path(self) -> str:
        """Where the bus is reached: the path of the socket."""
        return self._path

    def call(self, method: str, params: Mapping[str, Any] | Sequence[Any] = ()) -> Any:
        """Call any method of the helper, with parameters by name or by position, and return its result as JSON."""
        given = dict(params) if isinstance(params, Mapping) else list(params)
        return self.persist(lambda: self._ask(method, given), lost_too=False)

    def send(
        self,
        to: str | Sequence[str],
        type: str,
        body: Any = None,
        *,
        urgency: Urgency = "prompt",
        tags: Sequence[str] = (),
        correlation_id: str | int | None = None,
        reply_to: int | None = None,
        task_id: str | int | None = None,
        expires_in_s: float | None = None,
        delay_s: float | None = None,
        dedup_key: str | None = None,
    ) -> Message:
        """Send one message, as `BusClient.send` does; LostError where it is not known whether it was sent."""
        options: dict[str, Any] = {
            "urgency": urgency,
            "tags": tags,
            "correlation_id": correlation_id,
            "reply_to": reply_to,
            "task_id": task_id,
            "expires_in_s": expires_in_s,
            "delay_s": delay_s,
            "dedup_key": dedup_key,
        }
        draft = make_draft(self._address or _ANYBODY, _NO_LIMIT, to=to, type=type, body=body, **options)
        params = _params({"to": to, "type": type, **options}, draft)
        return Message.from_dict(self._call("send", retry=dedup_key is not None, from_=self._address, **params))

    def send_many(self, messages: Sequence[Mapping[str, Any]]) -> list[Message]:
        """Send many messages, dicts of `send`'s parameters, in one transaction: all of them or none."""
        drafts = make_drafts(self._address or _ANYBODY, _NO_LIMIT, messages)
        contents = [_params(message, draft) for message, draft in zip(messages, drafts, strict=True)]
        retry = all(content.get("dedup_key") for content in contents)
        return _messages(self._call("send_many", retry=retry, from_=self._address, messages=contents))

    def inbox(self, max: int = 100, peek: bool = False) -> list[Message]:
        """Return what is not acked, by urgency, then id, again and again until acked."""
        return _messages(self._call("inbox", role=self._address, max=max, peek=peek))

    def read(self, id: int) -> Message:
        """Return one message, as this address sees it if it is a recipient; changes nothing. MessageNotFoundError."""
        return Message.from_dict(self._call("read", id=id, role=self._address))

    def recipients(self, id: int) -> list[str]:
        """Return the addresses that a message was delivered to; raises MessageNotFoundError."""
        return list(self._call("recipients", id=id)["recipients"])

    def ack(self, id: int) -> None:
        """Finish this address's delivery of a message; idempotent. MessageNotFoundError where it has none."""
        self._call("ack", id=id, role=self._address)

    def history(
        self,
        correlation_id: str | int | None = None,
        *,
        task_id: str | int | None = None,
        role: str | Sequence[str] | None = None,
        max: int = 1000,
    ) -> list[Message]:
        """Return the messages of one conversation or task in order, each as a whole."""
        return _messages(
            self._call("history", correlation_id=correlation_id, task_id=task_id, role=_roles(role), max=max)
        )

    def peers(self, session: str | None = None) -> list[Peer]:
        """List who is registered or has mail: who is waiting now, who was seen when, how much waits for each."""
        return [Peer.from_dict(shape) for shape in self._call("peers", session=session)["peers"]]

    def last_id(self) -> int:
        """Return the id of the newest message, 0 on an empty bus."""
        return int(self._call("last_id")["id"])

    def register(self, *addresses: str) -> None:
        """Register addresses in advance, so that broadcasts reach them before they first use the bus."""
        self._call("register", role=list(addresses))

    def tail(
        self,
        from_id: int = 1,
        *,
        role: str | Sequence[str] | None = None,
        follow: bool = True,
        timeout_s: float | None = None,
    ) -> Iterator[Message]:
        """Yield messages as a whole from an id on, consuming none, as `BusObserver.tail` does."""
        from raven_rpc import streams

        return streams.tail(self, from_id, _roles(role), follow, timeout_s)

    def listen(
        self,
        *,
        ack: AckMode = "auto",
        poll_interval_s: float = 1.0,
        max_per_poll: int = 50,
        timeout_s: float | None = None,
    ) -> Iterator[Message]:
        """Yield messages as they come; `timeout_s` ends the loop after that many seconds.

        With `ack="auto"` each is acked just before it is yielded: a crash loses at most the one in hand. With
        `"manual"` up to `max_per_poll` are leased to this loop until you `ack` them or leave it; what is not acked
        comes again. When the helper is restarted the loop goes on. `poll_interval_s` is there for `BusClient`'s sake:
        here the helper does the looking.
        """
        from raven_rpc import streams

        return streams.listen(self, ack, max_per_poll, poll_interval_s, timeout_s)

    def subscribe(
        self,
        *,
        ack: AckMode = "auto",
        poll_interval_s: float = 1.0,
        max_per_poll: int = 50,
        timeout_s: float | None = None,
    ) -> AsyncMessages:
        """Do as `listen` does, for `async for`, without blocking the event loop."""
        from raven_rpc.async_messages import AsyncMessages

        return AsyncMessages(self, ack, max_per_poll, poll_interval_s, timeout_s)

    def close(self) -> None:
        """Close the connection: every later call raises ClosedError, loops in other threads end. Twice is allowed."""
        self._is_closed = True
        for stream in list(self._streams):
            stream.close()
        # Without the lock: a call of another thread that waits for its answer ends, too.
        wire = self._wire
        if wire is not None:
            wire.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # What the streams use

    def connect(self) -> Wire:
        """Return a new connection; raises UnreachableError, or ClosedError when this client was closed."""
        self.check_open()
        return Wire(self._path, self._timeout_s)

    def check_open(self) -> None:
        """Raise ClosedError when this client was closed."""
        if self._is_closed:
            raise ClosedError(f"the client of {self._path} is closed: make a new one")

    def persist(self, step: Callable[[], _T], *, lost_too: bool, at_most_s: float | None = None) -> _T:
        """Take a step again while the helper cannot be reached, until `patience_s` or `at_most_s` is over."""
        pauses = Pauses(self._patience_s if at_most_s is None else min(at_most_s, self._patience_s))
        while True:
            try:
                return step()
            except (UnreachableError, LostError) as error:
                self.check_open()
                if isinstance(error, LostError) and not lost_too:
                    raise
                pause_s = pauses.next_s()
                if pause_s is None:
                    raise
            time.sleep(pause_s)

    def _call(self, method: str, /, *, retry: bool = True, **params: Any) -> Any:
        """Call a method; parameters that are None are left out. With `retry` it may be asked twice."""
        given = {name.rstrip("_"): value for name, value in params.items() if value is not None}
        return self.persist(lambda: self._ask(method, given), lost_too=retry)

    def _ask(self, method: str, params: dict[str, Any] | list[Any]) -> Any:
        if self._pid != os.getpid():  # a forked child: the lock may be held by a thread that is not here
            self._pid, self._lock = os.getpid(), threading.Lock()
        with self._lock:
            if self._wire is None or self._wire.is_dead():
                if self._wire is not None:
                    self._wire.close()
                self._wire = self.connect()
            wire = self._wire
            self.check_open()
            return wire.ask(method, params)


class Pauses:
    """Growing pauses between attempts, until `limit_s` seconds have passed since the first."""

    def __init__(self, limit_s: float) -> None:
        self._give_up_at = time.monotonic() + limit_s
        self._pause_s = _FIRST_PAUSE_S

    def next_s(self) -> float | None:
        """Return how long to pause before the next attempt, or None to give up."""
        left = self._give_up_at - time.monotonic()
        if left <= 0:
            return None
        pause_s, self._pause_s = self._pause_s, min(2 * self._pause_s, _LONGEST_PAUSE_S)
        return min(pause_s, left)


def _params(message: Mapping[str, Any], draft: Draft) -> dict[str, Any]:
    """Return a message that was checked as the helper takes it; only what is not left out."""
    given = {name: value for name, value in message.items() if value is not None and name != "tags"}
    to = given["to"] if isinstance(given["to"], str) else list(given["to"])
    tags = {"tags": list(message["tags"])} if message.get("tags") else {}
    return {**given, **tags, "to": to, "body": draft.body()}


def _roles(role: str | Sequence[str] | None) -> str | list[str] | None:
    return role if role is None or isinstance(role, str) else list(role)


def _messages(result: Any) -> list[Message]:
    try:
        return [Message.from_dict(shape) for shape in result["messages"]]
    except (KeyError, TypeError, ValueError) as error:
        raise HelperError(f"the helper answered in another shape than this raven knows: {error!r}") from None
