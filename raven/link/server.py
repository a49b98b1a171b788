"""Server: NATS as the relay uses it. Mail is stored until its host has taken it, signs are not, and cards are kept."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import NamedTuple

from raven.errors import ConfigError, LimitError, ServerError, UnreachableError
from raven.link.jetstream import objects
from raven.link.jetstream.api import API, Stored
from raven.link.jetstream.client import Answer
from raven.link.jetstream.connection import Connection, Event
from raven.link.settings import LinkSettings
from raven.model import clock

__all__ = ["Card", "ClockOffset", "Event", "Server", "ServerInfo", "Stored", "connect"]

_MANY = 64


class Card(NamedTuple):
    """A card as it is kept; `stored_at` in microseconds since 1970 by the clock of the server."""

    key: str
    data: bytes
    stored_at: int


class ClockOffset(NamedTuple):
    """The clock of the server less that of this host, in microseconds, and by how much that may be wrong."""

    offset: int
    error: int


class ServerInfo(NamedTuple):
    """A server and the stream with the mail, as they are now; `messages` and `bytes` are under way."""

    url: str
    version: str
    name: str
    cluster: str | None
    leader: str | None
    domain: str | None
    max_payload: int
    messages: int
    bytes: int
    max_bytes: int
    replicas: int


async def connect(settings: LinkSettings, on_event: Callable[[Event], None] = lambda event: None) -> Server:
    """Connect to one of the servers of the settings, make what the link needs there, and return the server.

    `on_event` is called in the event loop with each change from then on. Raises ConfigError, ForbiddenError, LimitError
    or ServerError; or UnreachableError or LostError, which are worth another try.
    """
    server = Server(settings, on_event)
    await server.connection.open()
    return server


class Server:
    """The objects of one realm on NATS, for one host; made by `connect`.

    The connection is made again whenever it is lost, and missing objects are made then: the event `connected` tells
    it. All methods belong to one event loop.
    """

    def __init__(self, settings: LinkSettings, on_event: Callable[[Event], None]) -> None:
        self.names = objects.Names(settings.realm, settings.name, settings.js_domain)
        self.connection = Connection(settings, self.ensure, on_event)
        self.api = API(self.connection, self.names)
        self._settings = settings
        self._max_message = -1
        self._last_card: tuple[str, int, int, int] | None = None

    @property
    def is_ready(self) -> bool:
        """Whether there is a connection, and all that the link needs was there when it was made."""
        return self.connection.is_ready

    @property
    def max_payload(self) -> int:
        """The most bytes of one message; 0 without a connection."""
        limit = int(self.connection.info.get("max_payload", 0))
        return min(limit, self._max_message) if self._max_message > 0 else limit

    async def ensure(self) -> None:
        """Make the streams and the consumer of this host, unless they are there and fit.

        Raises ConfigError if one is there with other settings, or the server takes only messages too small for a part
        of an envelope. Raises ForbiddenError if one is missing and this user may not make it. Raises LimitError or
        ServerError if JetStream cannot make it, and UnreachableError or LostError if JetStream does not answer now.
        """
        limit = int(self.connection.info.get("max_payload", 0))
        if 0 < limit < objects.LEAST_MESSAGE:
            raise ConfigError(
                f"max_payload of {self.connection.url} is {limit} bytes, but the link needs {objects.LEAST_MESSAGE} or "
                "more: raise it in the configuration of the server"
            )
        self._max_message = await self.api.ensure(self._settings.replicas, self._settings.stream_bytes)

    async def close(self) -> None:
        """Send the bytes that are written, and end the connection; a second call does nothing."""
        await self.connection.close()

    async def publish(self, to: str, data: bytes, headers: Mapping[str, str] | None = None) -> asyncio.Future[Stored]:
        """Send mail to a host, and return the future of its place in the stream.

        The future fails with LostError if no answer comes within 5 s or the connection is lost: the mail may be stored
        or not. It fails with LimitError if the stream is full, and with UnreachableError if no stream takes mail now,
        as while a cluster elects a leader; also with ForbiddenError. `publish` itself raises UnreachableError
        while there is no connection, and LimitError for more than `max_payload` bytes.
        """
        if not self.is_ready:
            raise UnreachableError(f"{self.connection.url} is not ready: the link connects again")
        return await self.api.publish(self.names.mail(to, self.names.host), data, headers)

    async def sign(self, to: str, data: bytes) -> bool:
        """Send a sign to a host, which gets it if it listens now; returns False if it cannot be sent."""
        try:
            await self.connection.send(self.names.sign(to, self.names.host), data)
        except (UnreachableError, LimitError):
            return False
        return True

    async def subscribe_signs(self, on_sign: Callable[[str, bytes], None]) -> None:
        """Call `on_sign(sender, data)` with each sign for this host from now on; raises ForbiddenError."""

        def hear(message: Answer) -> None:
            on_sign(message.subject.rpartition(".")[2], message.data)

        await self.connection.listen(self.names.sign(self.names.host, "*"), hear)

    async def subscribe_cards(self, on_card: Callable[[str, bytes], None]) -> None:
        """Call `on_card(key, data)` with each card that is put from now on; raises ForbiddenError."""
        prefix = len(self.names.card(""))

        def hear(message: Answer) -> None:
            on_card(message.subject[prefix:], message.data)

        await self.connection.listen(self.names.card(">"), hear)

    async def put_card(self, key: str, data: bytes) -> None:
        """Store a card of this host; its key is the name of the host, or NAME.NUMBER. Raises as `publish` does."""
        sent_at = clock.now()
        stored = await (await self.api.publish(self.names.card(key), data))
        self._last_card = (key, stored.number, sent_at, clock.now())

    async def read_cards(self) -> dict[str, Card]:
        """Return the cards of all hosts by their keys; raises UnreachableError, LostError or ForbiddenError."""
        info = await self.api.stream_info(self.names.card_stream, self.names.card(">"))
        with self._known_form():
            subjects = list(info["state"].get("subjects") or ())
        cards: dict[str, Card] = {}
        for start in range(0, len(subjects), _MANY):
            found = await asyncio.gather(*map(self._card, subjects[start : start + _MANY]))
            cards.update({card.key: card for card in found if card})
        return cards

    async def clock_offset(self) -> ClockOffset | None:
        """Return how far the clock of the server is ahead, by the card that `put_card` has stored last.

        Returns None if there is no such card, or another has replaced it. Raises as `read_cards` does.
        """
        if self._last_card is None:
            return None
        key, number, sent_at, answered_at = self._last_card
        found = await self.api.last_message(self.names.card_stream, self.names.card(key))
        with self._known_form():
            if found is None or found["seq"] != number:
                return None
            return ClockOffset(_micros(found["time"]) - (sent_at + answered_at) // 2, (answered_at - sent_at + 1) // 2)

    async def info(self) -> ServerInfo:
        """Return the server and the stream as they are now; raises as `read_cards` does."""
        stream = await self.api.stream_info(self.names.stream)
        with self._known_form():
            server, state, config = self.connection.info, stream["state"], stream["config"]
            cluster = stream.get("cluster") or {}
            return ServerInfo(
                url=self.connection.url,
                version=str(server.get("version", "")),
                name=str(server.get("server_name", "")),
                cluster=cluster.get("name"),
                leader=cluster.get("leader"),
                domain=self.names.js_domain or server.get("domain"),
                max_payload=self.max_payload,
                messages=state["messages"],
                bytes=state["bytes"],
                max_bytes=config["max_bytes"],
                replicas=config["num_replicas"],
            )

    async def _card(self, subject: str) -> Card | None:
        found = await self.api.last_message(self.names.card_stream, subject)
        if found is None:
            return None
        with self._known_form():
            data = base64.b64decode(found.get("data") or "")
            return Card(subject[len(self.names.card("")) :], data, _micros(found["time"]))

    @contextmanager
    def _known_form(self) -> Iterator[None]:
        """Raise ServerError for an answer that lacks a part, or has one of another form."""
        try:
            yield
        except (LookupError, ValueError, TypeError, AttributeError) as error:
            raise ServerError(f"{self.connection.url} answers a request to JetStream in an unknown form") from error


def _micros(time: str) -> int:
    """Return a time of NATS, in nanoseconds with or without trailing zeros, in microseconds since 1970."""
    moment = datetime.fromisoformat(time)
    return round(moment.timestamp() * 1e6)
