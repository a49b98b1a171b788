"""Connection: one of several NATS servers, connected again after each loss, with requests and listeners on it."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Literal, NamedTuple, TypeVar

import nats.aio.client
import nats.errors
from nats.aio.subscription import Subscription

from raven.errors import (
    ConfigError,
    ForbiddenError,
    LimitError,
    LostError,
    RavenError,
    ServerError,
    UnreachableError,
)
from raven.link.jetstream.client import Answer, Client, as_callback
from raven.link.jetstream.target import Target, connect_error, credentials, target_of, tls_options
from raven.link.settings import LinkSettings

# A silent connection is given up after the third ping, so within 15 s.
_PING_S = 5
_PINGS = 2
_CONNECT_S = 5
# A server that refuses a host may end the connection before its reason is read: it is asked for that again.
_TRIES = 3
_FIRST_PAUSE_S = 0.1
_LAST_PAUSE_S = 2.0
_PERMISSIONS = "give its user the permissions that `raven link setup --print` shows"

_T = TypeVar("_T")


class Event(NamedTuple):
    """A change of the connection.

    `connected`: the objects of the link are there. `disconnected`: the connection was lost. `failed`: an attempt to
    connect or to make the objects failed; the next follows. `denied`: a permission is missing. `slow`: messages were
    dropped, since they came faster than they were taken.
    """

    kind: Literal["connected", "disconnected", "failed", "denied", "slow"]
    text: str


class _Call(NamedTuple):
    subject: str
    finish: Callable[[Answer], Any]
    answer: asyncio.Future[Any]


class Connection:
    """A connection to the first of the servers that takes it; made again after each loss, until `close`.

    `prepare` runs after each connecting; the connection is ready when it has returned. While there is no connection
    every send raises UnreachableError at once: nothing is buffered. All methods belong to one event loop.
    """

    def __init__(
        self, settings: LinkSettings, prepare: Callable[[], Awaitable[None]], on_event: Callable[[Event], None]
    ) -> None:
        self._settings = settings
        self._prepare = prepare
        self._on_event = on_event
        self._inbox = f"_INBOX.{settings.name}.{secrets.token_hex(8)}"
        self._configured = [target_of(url) for url in settings.urls]
        self._targets = self._configured
        self._client: Client | None = None
        self._target = self._targets[0]
        self._lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._ready = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._calls: dict[str, _Call] = {}
        self._listeners: dict[str, Callable[[Answer], None]] = {}
        self._subscriptions: dict[str, Subscription] = {}
        self._denied: set[str] = set()
        self._count = 0
        self._last_failure = ""

    @property
    def is_ready(self) -> bool:
        """Whether there is a connection, and `prepare` has returned since it was made."""
        return self._ready.is_set() and self._client is not None

    @property
    def info(self) -> Mapping[str, Any]:
        """The server's own description: `version`, `max_payload`, `server_name`, ...; empty without a connection."""
        return self._client.info if self._client else {}

    @property
    def url(self) -> str:
        """The server of this or the last connection, without user and password."""
        return self._target.shown

    async def open(self) -> None:
        """Connect, prepare, and keep the connection from now on.

        Raises ConfigError for a bad file of credentials or certificates, ForbiddenError if the server refuses them,
        UnreachableError if no server answers, ServerError for a program that is no NATS server; or the error of
        `prepare`.
        """
        try:
            await self._connect()
            await self._prepare()
        except BaseException:
            await self.close()
            raise
        self._set_ready()
        self._keeper = asyncio.create_task(self._keep())

    @property
    def lost(self) -> asyncio.Future[str]:
        """The future of the reason for which this connection ends."""
        return self._lost

    async def wait_ready(self) -> None:
        """Wait until the connection is ready."""
        await self._ready.wait()

    async def close(self) -> None:
        """Send the bytes that are written, and end the connection; a second call does nothing."""
        self._ready.clear()
        if self._keeper:
            self._keeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeper
            self._keeper = None
        client, self._client = self._client, None
        if client:
            with suppress(Exception):
                await client.settle(1)
            await client.discard()
        self._fail_calls("the link was closed")

    async def send(self, subject: str, data: bytes, reply: str = "", headers: Mapping[str, str] | None = None) -> None:
        """Hand a message to the connection; it may be lost. Raises UnreachableError or LimitError: it was not sent."""
        client = self._client
        if client is None:
            raise UnreachableError(
                f"there is no connection to {self.url}; it is made again as soon as the server answers"
            )
        if len(data) > client.max_payload:
            raise LimitError(
                f"{len(data)} bytes for {subject} are over max_payload, {client.max_payload} bytes, of {self.url}: "
                "raise max_payload in the configuration of the server"
            )
        try:
            await client.publish(subject, data, reply, dict(headers) if headers else None)
        # nats-py writes to the socket itself if its flusher has ended; on Python 3.12 a closed one: AttributeError.
        except (nats.errors.Error, OSError, AttributeError) as error:
            raise UnreachableError(f"the connection to {self.url} has just ended ({error})") from error

    async def call(
        self,
        subject: str,
        data: bytes,
        finish: Callable[[Answer], _T],
        timeout_s: float = 5.0,
        headers: Mapping[str, str] | None = None,
    ) -> asyncio.Future[_T]:
        """Send a request, and return the future of what `finish` makes of the answer.

        The future fails with an error that `finish` raises; with LostError after `timeout_s`, or at the loss of the
        connection; with ForbiddenError if the server denies the subject. Raises as `send` does.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_T] = loop.create_future()
        self._count += 1
        token = f"{self._count:x}"
        timer = loop.call_later(timeout_s, self._time_out, token, timeout_s)

        def end(future: asyncio.Future[_T]) -> None:
            timer.cancel()
            self._calls.pop(token, None)
            if not future.cancelled():
                future.exception()  # the caller may have gone: asyncio need not report it then

        self._calls[token] = _Call(subject, finish, future)
        future.add_done_callback(end)
        try:
            await self.send(subject, data, f"{self._inbox}.{token}", headers)
        except BaseException:
            future.cancel()
            raise
        return future

    def new_inbox(self, name: str) -> str:
        """Return a subject that begins like that of all answers to this host, to be used with one more token."""
        return f"{self._inbox}.{name}"

    async def listen(self, subject: str, handler: Callable[[Answer], None]) -> None:
        """Give the handler each message of a subject, over this connection and all that follow.

        Raises ForbiddenError if the server denies the subject. Without a connection it begins with the next.
        """
        self._listeners[subject] = handler
        client = self._client
        if client:
            # At the loss of the connection the next takes over; a slow server takes it later.
            with suppress(nats.errors.Error, OSError):
                await self._subscribe(client, {subject: handler})

    async def stop_listening(self, subject: str) -> None:
        """End what `listen` began; without it, does nothing."""
        self._listeners.pop(subject, None)
        subscription = self._subscriptions.pop(subject, None)
        if subscription and self._client:
            with suppress(nats.errors.Error, OSError):
                await subscription.unsubscribe()

    def report_failure(self, error: RavenError) -> None:
        """Tell `on_event` of an error after which the link tries again, unless it is the last one told."""
        if str(error) != self._last_failure:
            self._last_failure = str(error)
            self._on_event(Event("failed", self._last_failure))

    # The connection and its end.

    async def _connect(self) -> None:
        """Connect to one of the servers; raises the most telling of their errors."""
        errors: list[RavenError] = []
        for target in random.sample(self._targets, len(self._targets)):
            for _ in range(_TRIES):
                lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
                try:
                    client = await self._connect_to(target, lost)
                except RavenError as error:
                    errors.append(error)
                    if not isinstance(error.__cause__, ConnectionResetError | BrokenPipeError):
                        break
                else:
                    self._client, self._target, self._lost = client, target, lost
                    self._targets = self._with_cluster(client.info.get("connect_urls") or ())
                    return
        telling = [error for error in errors if not isinstance(error, UnreachableError)] or errors
        raise telling[0]

    async def _connect_to(self, target: Target, lost: asyncio.Future[str]) -> Client:
        def lose(error: Exception | None) -> None:
            if not lost.done():
                lost.set_result(str(error or "the server closed it").removeprefix("nats: "))

        async def closed() -> None:
            lose(client.last_error)

        async def report(error: Exception) -> None:
            if not client.is_connected:
                raise error  # the first error ends the attempt
            self._take_note(error)

        settings = self._settings
        client = Client(target.scheme == "tls" or bool(settings.tls_ca or settings.tls_cert), lose)
        options = {**credentials(settings, target), **tls_options(settings, target)}
        try:
            await asyncio.wait_for(
                client.connect(
                    [target.shown],
                    name=f"raven link {settings.name}",
                    error_cb=report,
                    closed_cb=closed,
                    connect_timeout=_CONNECT_S,
                    ping_interval=_PING_S,
                    max_outstanding_pings=_PINGS,
                    pending_size=0,  # no publish while disconnected
                    inbox_prefix=self._inbox,
                    **options,
                ),
                2 * _CONNECT_S,
            )
            if not client.is_connected:
                raise ConnectionResetError("the server closed it at once")
            self._denied.clear()
            await self._subscribe(client, {f"{self._inbox}.*": self._on_answer, **self._listeners})
        except BaseException as error:
            words = client.last_words()
            await client.discard()
            if isinstance(error, RavenError) or not isinstance(error, Exception):
                raise
            if isinstance(error, ConnectionError) and words:
                error = nats.errors.Error(words)
            raise connect_error(error, target, settings) from error
        return client

    async def _subscribe(self, client: Client, handlers: Mapping[str, Callable[[Answer], None]]) -> None:
        for subject, handler in handlers.items():
            self._subscriptions[subject] = await client.subscribe(subject, cb=as_callback(handler))
        await client.settle(_CONNECT_S)
        for subject in handlers:
            if f'subscription to "{subject.lower()}"' in self._denied:
                raise ForbiddenError(
                    f"{self.url} forbids {self._settings.name} to subscribe to {subject}: {_PERMISSIONS}"
                )

    def _with_cluster(self, addresses: Iterable[str]) -> list[Target]:
        """Return the servers of the settings and of the cluster, which have the user and the name of this server."""
        targets = {(target.host, target.port): target for target in self._configured}
        for address in addresses:
            with suppress(ConfigError):
                host, port = target_of(f"nats://{address}")[1:3]
                targets.setdefault((host, port), self._target._replace(host=host, port=port))
        return list(targets.values())

    async def _keep(self) -> None:
        """Connect again after each loss, with growing pauses, and prepare it."""
        pause_s = _FIRST_PAUSE_S
        while True:
            if self.is_ready:
                pause_s = _FIRST_PAUSE_S
                await self._lose(await self._lost)
            try:
                if self._client is None:
                    await self._connect()
                await self._prepare()
            except Exception as error:  # of any kind: without this task there is no connection for good
                if not isinstance(error, RavenError):
                    error = ServerError(f"connecting to {self.url} has failed ({type(error).__name__}: {error})")
                self.report_failure(error)
                if self._client is None:
                    await asyncio.sleep(pause_s * random.uniform(0.5, 1))  # noqa: S311 (not all relays at once)
                else:
                    await asyncio.wait({self._lost}, timeout=pause_s)
                    if self._lost.done():
                        await self._lose(self._lost.result())
                pause_s = min(2 * pause_s, _LAST_PAUSE_S)
            else:
                self._set_ready()

    def _set_ready(self) -> None:
        self._last_failure = ""
        self._ready.set()
        self._on_event(Event("connected", f"connected to {self.url}"))

    async def _lose(self, reason: str) -> None:
        self._ready.clear()
        client, self._client = self._client, None
        self._fail_calls(f"the connection to {self.url} was lost ({reason})")
        self._on_event(Event("disconnected", f"the connection to {self.url} was lost ({reason})"))
        if client:
            await client.discard()

    # Messages of the server.

    def _on_answer(self, answer: Answer) -> None:
        token = answer.subject.rpartition(".")[2]
        call = self._calls.get(token)
        if call and not call.answer.done():
            try:
                call.answer.set_result(call.finish(answer))
            except Exception as error:  # of any kind: it is the caller's
                call.answer.set_exception(error)

    def _time_out(self, token: str, timeout_s: float) -> None:
        call = self._calls.get(token)
        if call and not call.answer.done():
            call.answer.set_exception(LostError(f"{self.url} did not answer {call.subject} within {timeout_s:g} s"))

    def _fail_calls(self, reason: str) -> None:
        for call in list(self._calls.values()):
            if not call.answer.done():
                call.answer.set_exception(LostError(f"{reason}, before {call.subject} was answered"))

    def _take_note(self, error: Exception) -> None:
        """Take note of an error that does not end the connection."""
        text = str(error).removeprefix("nats: ")
        if isinstance(error, nats.errors.SlowConsumerError):
            self._on_event(Event("slow", f"messages of {error.subject} came faster than they were taken"))
        elif text.startswith("permissions violation for "):
            self._deny(text.removeprefix("permissions violation for "))
        elif not isinstance(error, nats.errors.Error | OSError):
            context = {"message": "a listener of the link failed", "exception": error}
            asyncio.get_running_loop().call_exception_handler(context)

    def _deny(self, denied: str) -> None:
        """Fail the calls of a subject that the server denies; nats-py tells it in lower case."""
        for call in list(self._calls.values()):
            if f'publish to "{call.subject.lower()}"' in denied and not call.answer.done():
                text = f"{self.url} forbids {self._settings.name} to send to {call.subject}: {_PERMISSIONS}"
                call.answer.set_exception(ForbiddenError(text))
        if denied not in self._denied:
            self._denied.add(denied)
            self._on_event(Event("denied", f"{self.url} denies {denied}: {_PERMISSIONS}"))
