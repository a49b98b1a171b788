"""Sender: what one address sends, asks and answers."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self, TypeVar
from weakref import WeakSet

from raven.config import Durability, Retention
from raven.delivery import outbox as posting
from raven.delivery.identity import Identity
from raven.delivery.outbox import Stored
from raven.errors import ConfigError, ExpiredError, InputError, MessageNotFoundError
from raven.model import clock
from raven.model.address import Address, make_address, parse_address
from raven.model.draft import Draft, check_max_attempts, check_options, check_request, make_draft, make_drafts
from raven.model.message import Message, Report, Urgency, message_of
from raven.observer import BusObserver
from raven.wake.doorbell import OBSERVERS

if TYPE_CHECKING:
    from raven.delivery.retention import Keeper
    from raven.receive.auto_ack import Feed
    from raven.receive.request import Request

_T = TypeVar("_T")


class BusSender(BusObserver):
    """The half of a BusClient that sends; everything that a BusObserver can do, too."""

    def __init__(
        self,
        session_id: str,
        role: str,
        db_path: str | None = None,
        *,
        busy_timeout_s: float | None = None,
        durability: Durability | None = None,
        max_body_bytes: int | None = None,
        max_attempts: int | None = None,
        retention: Retention | Mapping[str, Any] | None = None,
        checkpoints: bool = True,
        register: bool = True,
        create: bool = True,
    ) -> None:
        address = make_address(session_id, role)
        settings = self._open(db_path, busy_timeout_s, durability, checkpoints=checkpoints, create=create)
        try:
            self._max_body_bytes = settings.max_body_bytes if max_body_bytes is None else max_body_bytes
            if not isinstance(self._max_body_bytes, int) or self._max_body_bytes < 1:
                raise ConfigError(f"max_body_bytes {max_body_bytes!r} is not a number of bytes, 1 or more")
            check_max_attempts(max_attempts)
            self._max_attempts = settings.max_attempts if max_attempts is None else max_attempts
            self._owns_store = True
            limits = (
                settings.retention
                if retention is None
                else Retention.of(retention._asdict() if isinstance(retention, Retention) else retention)
            )
            self._keeper = None if limits is None else self._make_keeper(limits)
            self._take_part(address, register)
            if register:
                with self._store.write() as tx:
                    self._identity.touch(tx)
        except BaseException:
            self._store.close()  # or it would be open for as long as somebody keeps the error
            raise

    @classmethod
    def at(cls, address: str, db_path: str | None = None, **options: Any) -> Self:
        """Make a client from its whole address: `BusClient.at("architect:swarm-1")`."""
        parsed = parse_address(address)
        return cls(parsed.session, parsed.role, db_path, **options)

    def _take_part(self, address: Address, register: bool) -> None:
        self._identity = Identity(self._store, address, registers=register)
        self._feeds: WeakSet[Feed] = WeakSet()

    def _make_keeper(self, limits: Retention) -> Keeper:
        from raven.delivery.retention import Keeper

        return Keeper(self._store, limits)

    def close(self) -> None:
        """Close the connection; requests that wait in other threads and tasks end."""
        for feed in members(self._feeds):
            feed.release()
        if self._owns_store:
            super().close()
        self._doorbells.ring([self.address])

    @property
    def address(self) -> str:
        """This client's own address, `<role>:<session>`."""
        return self._identity.address

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
        report: Report | None = None,
        max_attempts: int | None = None,
    ) -> Message:
        """Send one message; when this returns it is committed, and whoever waits for it was woken.

        `to` is an address, a broadcast pattern (`*:session`, `role:*`, `*:*`: all that are registered now, but never
        the sender) or a list of them; an address gets it whether or not it was ever used. `body` is any JSON value,
        or an instance of a pydantic model. The message that is returned tells in `waiting` who was waiting for it.

        With `dedup_key`, a second send of the same key by this address stores nothing and returns the first message,
        with `duplicate` set. After `max_attempts` (5 unless set otherwise) a recipient's delivery is dead. With
        `report="undelivered"` this address gets a message of type `raven.undelivered` for each delivery that dies or
        expires. Raises InputError (address, body, schema), UnknownAddressError for a pattern that nobody matches,
        DatabaseError.
        """
        draft = make_draft(
            self._identity.address,
            self._max_body_bytes,
            to=to,
            type=type,
            body=body,
            urgency=urgency,
            tags=tags,
            correlation_id=correlation_id,
            reply_to=reply_to,
            task_id=task_id,
            expires_in_s=expires_in_s,
            delay_s=delay_s,
            dedup_key=dedup_key,
            report=report,
            max_attempts=max_attempts,
            default_attempts=self._max_attempts,
        )
        # As `post` does with many: this is the hottest path of all.
        with self._store.write() as tx:
            self._identity.touch(tx)
            stored = posting.store_one(tx, draft)
        rung = [] if stored.is_duplicate else self._wake(stored.recipients)
        if self._keeper is not None:
            self._keeper.note(1)
        return self._as_sent(stored, rung, clock.now())

    def send_many(self, messages: Sequence[Mapping[str, Any]]) -> list[Message]:
        """Send many messages, dicts of `send`'s parameters, in one transaction: all of them or none."""
        return self.post(make_drafts(self._identity.address, self._max_body_bytes, messages, self._max_attempts))

    def draft(self, to: str | Sequence[str], type: str, body: Any = None, **options: Any) -> Draft:
        """Check a message, given as to `send`, without touching the bus; `post` then sends it. Raises InputError.

        For programs that check in one thread and write in another.
        """
        check_options(options)
        return self._draft(to, type, body, **options)

    def _draft(self, to: str | Sequence[str], type: str, body: Any = None, **options: Any) -> Draft:
        return make_draft(
            self._identity.address,
            self._max_body_bytes,
            to=to,
            type=type,
            body=body,
            default_attempts=self._max_attempts,
            **options,
        )

    def post(self, drafts: Sequence[Draft]) -> list[Message]:
        """Send what `draft` has checked, in one transaction: all of them or none."""
        with self._store.write() as tx:
            self._identity.touch(tx)
            stored = posting.store(tx, drafts)
        return self._sent(stored)

    def reply(self, msg: Message | int, type: str, body: Any = None, **options: Any) -> Message:
        """Answer a message, given itself or by its id: to where its sender waits for the answer, else to the sender.

        The answer carries the message's id in `reply_to`, and its correlation and task ids; `options` are those of
        `send`. The answer to a request expires with the request: ExpiredError where nobody waits for it any more.
        """
        return self.post([self.draft_reply(msg, type, body, **options)])[0]

    def draft_reply(self, msg: Message | int, type: str, body: Any = None, **options: Any) -> Draft:
        """Check an answer, given as to `reply`; `post` then sends it."""
        if not isinstance(msg, Message | int) or isinstance(msg, bool):
            raise InputError(f"{msg!r} is neither a message nor the id of one: give what inbox or claim returned")
        asked = self.read(msg) if isinstance(msg, int) else msg
        given = {"correlation_id": asked.correlation_id, "task_id": asked.task_id, **options, "reply_to": asked.id}
        if asked.reply_address is None:
            return self.draft(asked.sender, type, body, **given)
        left_s = self._time_left_s(asked.id)
        if left_s <= 0:
            raise ExpiredError(f"message #{asked.id} asked for an answer in time: nobody waits for it any more")
        wanted_s = given.get("expires_in_s")
        draft = self.draft(asked.reply_address, type, body, **given)
        # However long the answer was to live: it does not outlive the question.
        return draft._replace(lifetime_us=clock.to_micros(left_s if wanted_s is None else min(left_s, wanted_s)))

    def _time_left_s(self, request_id: int) -> float:
        """Return for how many seconds somebody waits for the answer to a request, which may have been given up."""
        try:
            expires_at = BusObserver.read(self, request_id).expires_at
        except MessageNotFoundError:
            return 0
        return 0 if expires_at is None else expires_at.timestamp() - clock.now() / 1e6

    def request(
        self, to: str | Sequence[str], type: str, body: Any = None, *, timeout_s: float = 30.0, **options: Any
    ) -> Message:
        """Send a message, wait for the answer that `reply` gives to it, and return that, acked.

        The answer goes to a private address, so that no subscriber of this one can take it; of several answers the
        first counts. `options` are those of `send`. Raises WaitTimeoutError after `timeout_s` seconds; then, or when
        the wait is left by another exception, nobody begins with the request any more, and nothing is left behind.
        """
        return self._ask(to, type, body, timeout_s, options).answer()

    async def request_async(
        self, to: str | Sequence[str], type: str, body: Any = None, *, timeout_s: float = 30.0, **options: Any
    ) -> Message:
        """Do as `request` does, without blocking the event loop."""
        return await self._ask(to, type, body, timeout_s, options).answer_async()

    def _ask(self, to: str | Sequence[str], type: str, body: Any, timeout_s: float, options: dict[str, Any]) -> Request:
        from raven.receive.request import Question, Request

        request = Request(self, Question(self, to, type, body, timeout_s=timeout_s, **options), timeout_s)
        self._feeds.add(request.feed)
        return request

    def _draft_request(
        self,
        to: str | Sequence[str],
        type: str,
        body: Any,
        timeout_s: float,
        reply_address: str,
        options: dict[str, Any],
    ) -> Draft:
        check_request(timeout_s, options)
        check_options(options)
        private = {"expires_in_s": timeout_s, "reply_address": reply_address}
        return self._draft(to, type, body, **{**options, **private})

    def _sent(self, stored: Sequence[Stored]) -> list[Message]:
        """Wake the recipients and the observers, and return the messages as `send` does.

        Only after the commit, or the woken would look too early; inside a transaction nobody is woken yet.
        """
        recipients = dict.fromkeys(address for one in stored if not one.is_duplicate for address in one.recipients)
        is_news = not all(one.is_duplicate for one in stored)
        rung = self._wake(recipients) if is_news else []
        if self._keeper is not None:
            self._keeper.note(len(stored))
        now, heard = clock.now(), None if rung is None else set(rung)
        return [self._as_sent(one, heard, now) for one in stored]

    def _wake(self, recipients: Iterable[str]) -> list[str] | None:
        """Wake recipients and observers after the commit; returns where somebody waited, None if that is to come."""
        return self._store.after_commit(self._doorbells.ring, [*recipients, OBSERVERS])

    def _as_sent(self, stored: Stored, rung: Collection[str] | None, now: int) -> Message:
        row, body, recipients, is_duplicate = stored
        if rung is None or is_duplicate:
            rung = [address for address in recipients if self._doorbells.count_waiting(address)]
        waiting = {address: address in rung for address in recipients}
        return message_of(row, now, None, waiting, is_duplicate, read=lambda _: body)


def members(weak: WeakSet[_T]) -> list[_T]:
    """Return what a weak set holds; another thread may add to it meanwhile."""
    while True:
        with suppress(RuntimeError):
            return list(weak)
