"""Context: what every tool works with: the session, the messages that its model has seen, and those that it holds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from raven.delivery.reader import Reader
from raven.errors import InputError, RavenError
from raven_mcp.tools import texts
from raven_mcp.tools.claims import Claims
from raven_mcp.wire.requests import Result

if TYPE_CHECKING:
    from raven.client import BusClient
    from raven.model.message import Message
    from raven_mcp.session.session import Session

# A message in these states is unfinished.
OPEN = ("sent", "delivered")
_MOST_SEEN = 10_000


class Context:
    """The session of the calls, and the form of their results."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.claims = Claims(session)
        self._seen: set[int] = set()
        self._seen_in: tuple[str | None, int] | None = None
        self._told: str | None = None

    @property
    def bus(self) -> BusClient:
        """The client of the session's address."""
        return self.session.bus

    @property
    def reader(self) -> Reader:
        """The mail of the session's address, as it is shown to the model."""
        bus = self.session.bus
        return Reader(bus._store, bus._identity, bus._doorbells, bus._mailbox)

    @property
    def address(self) -> str:
        """The session's address."""
        return self.bus.address

    @property
    def is_shared(self) -> bool:
        """Whether another living session has the same address, or may take it: then messages are claimed."""
        if self.session.is_shared:
            return True
        own = self.session.host, self.session.native_id
        others = (agent for agent in self.session.agents.of_address(self.address) if agent[:2] != own)
        return any(agent.is_alive() for agent in others)

    def check_own(self, message: Message) -> None:
        """Raise InputError for a message that is not in this session's mail, or in the hands of another session."""
        if message.recipient != self.address:
            raise InputError(
                f"message #{message.id} is not in your mail: `thread` shows it, and `reply` with keep answers it"
            )
        if message.state in OPEN and message.id not in self.claims and self.is_shared:
            raise InputError(
                f"message #{message.id} is not in your hands, for you share {self.address}: call inbox to get some"
            )

    def is_new(self, message: Message) -> bool:
        """Whether the model has not seen a message yet."""
        return message.id not in self._remembered()

    def _remembered(self) -> set[int]:
        """Return the ids that the model has seen; none of another session's memory, or of a file that was replaced."""
        now_in = self.session.native_id, self.bus._store.replaced
        if self._seen_in != now_in or len(self._seen) > _MOST_SEEN:
            self._seen_in = now_in
            self._seen.clear()
        return self._seen

    def result(self, value: dict[str, Any], on_written: Callable[[], object] | None = None) -> Result:
        """Return a tool's result, with the news of the session.

        These are once the reason why the address is not the one that was wanted, and the number of messages that wait
        and were not announced yet.
        """
        if self.session.collision != self._told:
            self._told = self.session.collision
            if self._told:
                value["note"] = self._told
        unread = self.session.unannounced()
        if unread:
            value["unread"] = unread
        return Result.of(texts.encode(value), on_written=on_written)

    def show(self, messages: Iterable[Message]) -> Callable[[], None]:
        """Let messages count as announced, and return the function that marks them as delivered after the write."""
        ids = [message.id for message in messages]
        new = [message.id for message in messages if message.state == "sent"]
        self._remembered().update(ids)
        self.session.shown(ids)
        reader = self.reader

        def mark() -> None:
            # One that stays unmarked is marked when it is shown again.
            with suppress(RavenError):
                reader.mark_delivered(new)

        return mark if new else _nothing


class Wait:
    """A call that waits until `look` returns its result; `look` gets whether the time is over, and then returns one.

    The call goes on waiting after an error that may pass. `listens` says that any mail ends the wait, and `failing` is
    how another error begins.
    """

    def __init__(
        self,
        context: Context,
        wait_s: float,
        look: Callable[[bool], Result | None],
        *,
        listens: bool,
        failing: str = "",
    ) -> None:
        self.deadline = time.monotonic() + wait_s
        self._context = context
        self._presence = context.session.presence
        self._look = look
        self._listens = listens
        self._failing = failing
        self._presence.begin_wait(listens=listens)

    def poll(self) -> Result | None:
        """Return the result, or None before the deadline."""
        is_over = time.monotonic() >= self.deadline
        try:
            self._context.reader.heartbeat()
            result = self._look(is_over)
        except RavenError as error:
            result = None if error.retryable and not is_over else failure(f"{self._failing}{error}")
        if result is not None:
            self.cancel()
        return result

    def cancel(self) -> None:
        """Wait no longer: a message that comes later is ordinary mail."""
        self._presence.end_wait(listens=self._listens)


def failure(error: Exception | str) -> Result:
    """Return a tool's error: one line that says how the call went wrong, and the remedy."""
    return Result.of(texts.one_line(str(error)), is_error=True)


def _nothing() -> None:
    pass
