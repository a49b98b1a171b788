"""Mail: the messages that wait at the session's address, and how much of them the session was told of."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from raven.agents.agents import Agents
from raven.client import BusClient
from raven.errors import RavenError
from raven.model import clock
from raven.model.message import SENT
from raven_mcp.session.announced import Announced
from raven_mcp.session.brakes import MAX_DEPTH, THREAD_SPAN_S
from raven_mcp.session.flags import Flag
from raven_mcp.session.notice import Waiting

# An agent with more unfinished mail than this has other troubles than a missing notice.
_MAX_WAITING = 500
_MAX_SHOWN = 10_000


class Mail:
    """The waiting mail of one session.

    A message is new until the session was shown it or told of it, by any process of the session. Mail from a muted
    address is never new. Mail under a lease is in the hands of another consumer. `host_pid`: see Flag.
    """

    def __init__(self, bus: BusClient, agents: Agents, native_id: str, host_pid: int | None = None) -> None:
        self._bus = bus
        self._agents = agents
        self._shown: set[int] = set()
        self._in_push: set[int] = set()
        self._announced = Announced(bus.db_path, native_id)
        self._flag = Flag(bus.db_path, native_id, host_pid)

    def rename(self, native_id: str) -> None:
        """Go on under another name of the session."""
        self.close()
        self._announced = Announced(self._bus.db_path, native_id)
        self._flag = Flag(self._bus.db_path, native_id)

    def remember_delivered(self) -> None:
        """Take the messages that are `delivered` as shown: the session saw them in an earlier process."""
        self._shown.update(message.id for message in self.waiting() if message.state != SENT)

    def waiting(self, address: str | None = None) -> list[Waiting]:
        """Return the ready messages of the session's address, or another, by urgency, then id."""
        query = {"recipient": address or self._bus.address, "now": clock.now(), "max": _MAX_WAITING}
        return [Waiting(*row) for row in self._bus._store.rows("list_waiting", query)]

    def new(self) -> list[Waiting]:
        """Return the messages that the session has not heard of, and set its flag."""
        messages = [one for one in self.waiting() if one.id not in self._shown and one.id not in self._in_push]
        if messages:
            announced, muted = self._announced.ids(), self._agents.muted()
            messages = [one for one in messages if one.id not in announced and one.sender not in muted]
        self._flag.set(bool(messages))
        return messages

    @property
    def is_flagged(self) -> bool:
        """Whether new mail waited at the last look; a hook may have told of it since."""
        return self._flag.is_up

    def announce(self, messages: list[Waiting]) -> list[Waiting]:
        """Record messages as announced; return those that no process of the session had announced before."""
        ids = set(self._announced.claim([one.id for one in messages]))
        self._lower_flag()
        return [one for one in messages if one.id in ids]

    def begin_push(self, messages: list[Waiting]) -> None:
        """Keep messages back from other notices while a push of them is on its way."""
        self._in_push.update(one.id for one in messages)

    def end_push(self, messages: list[Waiting], *, arrived: bool) -> None:
        """Record the messages of a push as announced, unless it failed."""
        self._in_push.difference_update(one.id for one in messages)
        if arrived:
            self.announce(messages)

    def shown(self, ids: Iterable[int]) -> None:
        """Note the messages whose bodies the session was shown."""
        self._shown.update(ids)
        if len(self._shown) > _MAX_SHOWN:
            self._shown = set(sorted(self._shown)[-_MAX_SHOWN // 2 :])
        self._lower_flag()

    def start_over(self) -> None:
        """Know no message: another file is in the place of the bus, and its ids begin at 1."""
        self._shown.clear()
        self._announced.forget()

    def was_shown(self, id: int) -> bool:
        """Return whether the session was shown the body of a message."""
        return id in self._shown

    def forget_announced(self) -> None:
        """Let the messages that were not shown be announced again."""
        self._announced.forget()

    def depth(self, message: Waiting) -> int:
        """Return how many messages came before it in its thread within the last ten minutes."""
        since = clock.now() - clock.to_micros(THREAD_SPAN_S)
        query = {"message_id": message.id, "since": since, "max": MAX_DEPTH}
        return self._bus._store.value("thread_depth", query) or 0

    def _lower_flag(self) -> None:
        """Lower the flag if no more new mail waits; if the bus cannot be read now, a later look does that."""
        if self._flag.is_up:
            with suppress(RavenError):
                self.new()

    def close(self) -> None:
        """Lower the flag. When the session goes on, it hears again of the mail that was not shown."""
        self._flag.set(False)
        self._announced.forget()
