"""API: requests to JetStream, which make the objects of the link if they are missing; each error in plain words."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from raven.errors import ConfigError, ForbiddenError, LimitError, RavenError, ServerError, UnreachableError
from raven.link.jetstream import objects
from raven.link.jetstream.client import Answer
from raven.link.jetstream.connection import Connection

TIMEOUT_S = 5.0
# Codes of JetStream's errors, as errors.json of nats-server lists them.
_NO_CONSUMER = 10014
_NO_MESSAGE = 10037
_NO_STREAM = 10059
_IS_ALONE = 10074  # more than one replica, but no cluster
_FULL = (10047, 10054, 10077)
_ERRORS: tuple[tuple[tuple[int, ...], type[RavenError], str], ...] = (
    (
        (10035, 10039, 10076),
        ServerError,
        "JetStream is not enabled at {where} for this account ({error}): start the server with it (nats-server -js) "
        "or enable it for the account",
    ),
    (
        (10005,),
        UnreachableError,
        "{where} cannot place {name} ({error}): start more servers of the cluster, or set link.replicas to 1",
    ),
    (
        (10023, 10028, 10047),
        LimitError,
        "{where} has no room for {name} ({error}): set link.stream_bytes to less, or give the server more",
    ),
    (
        (10065,),
        ConfigError,
        "another stream at {where} takes the subjects of {name} already ({error}): delete it, or choose another "
        "link.realm",
    ),
    (
        (10099, 10100),
        ConfigError,
        "another consumer at {where} takes the mail of {name} already ({error}): delete it, or choose another "
        "link.name",
    ),
    ((10003, 10008, 10009, _NO_CONSUMER, _NO_STREAM), UnreachableError, "{name} does not answer at {where}: {error}"),
)


class Stored(NamedTuple):
    """The place of a message in its stream, which has stored it."""

    stream: str
    number: int


class RequestError(Exception):
    """An error of JetStream, with its code."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class API:
    """JetStream behind a connection, for the objects of a realm.

    Every method raises UnreachableError without a connection, and LostError if no answer comes within 5 s. It raises
    ForbiddenError if the server denies the subject, and ServerError or one of its kinds for an error of JetStream.
    """

    def __init__(self, connection: Connection, names: objects.Names) -> None:
        self._connection = connection
        self._names = names
        self._ensuring = asyncio.Lock()

    async def ensure(self, replicas: int | None, max_bytes: int) -> int:
        """Make the streams and the consumer, unless they are there and fit.

        Without `replicas` there are three in a cluster, and one on a single server. Returns the most bytes of a message
        that the stream takes, -1 if it sets no limit. Raises ConfigError if an object has other settings.
        """
        names = self._names
        async with self._ensuring:
            wanted = objects.stream_config(names, replicas or 0, max_bytes)
            stream = await self._make(names.stream, wanted, objects.stream_faults)
            wanted = objects.card_config(names, replicas or 0)
            await self._make(names.card_stream, wanted, objects.card_faults)
            await self._make_consumer()
        return int(stream.get("max_msg_size", -1))

    async def publish(
        self, subject: str, data: bytes, headers: Mapping[str, str] | None = None
    ) -> asyncio.Future[Stored]:
        """Send a message that a stream stores, and return the future of its place there.

        The future fails with LostError if the message may be stored or not, and with LimitError if the stream is full.
        It fails with UnreachableError if no stream takes the message now.
        """
        return await self._connection.call(subject, data, self._stored, TIMEOUT_S, headers)

    async def stream_info(self, stream: str, subjects: str | None = None) -> dict[str, Any]:
        """Return settings and state of a stream; with a filter of subjects, also the count of messages of each."""
        request = {"subjects_filter": subjects} if subjects else None
        try:
            return await self.request(f"STREAM.INFO.{stream}", request)
        except RequestError as error:
            raise self._error(error, stream) from error

    async def last_message(self, stream: str, subject: str) -> dict[str, Any] | None:
        """Return the last message of a subject, with `data`, `hdrs`, `seq` and `time`; None if there is none."""
        try:
            found = await self.request(f"STREAM.MSG.GET.{stream}", {"last_by_subj": subject})
        except RequestError as error:
            if error.code == _NO_MESSAGE:
                return None
            raise self._error(error, stream) from error
        message: dict[str, Any] = found.get("message") or {}
        return message

    async def ask_for_mail(self, reply: str, batch: int, expires_s: float, heartbeat_s: float) -> None:
        """Let the consumer send up to `batch` messages to a subject, and a sign of life, for `expires_s` seconds."""
        names = self._names
        request = {"batch": batch, "expires": int(expires_s * 1e9), "idle_heartbeat": int(heartbeat_s * 1e9)}
        subject = f"{names.api}.CONSUMER.MSG.NEXT.{names.stream}.{names.host}"
        await self._connection.send(subject, json.dumps(request).encode(), reply)

    async def request(self, path: str, request: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send a request, as `STREAM.INFO.NAME`, and return its answer; raises RequestError for JetStream's errors."""
        data = json.dumps(request).encode() if request else b""
        future = await self._connection.call(f"{self._names.api}.{path}", data, self._result, TIMEOUT_S)
        return await future

    def _result(self, answer: Answer) -> dict[str, Any]:
        where = self._connection.url
        if answer.status == "503":
            raise UnreachableError(
                f"no JetStream answers at {where}: start the server with JetStream (nats-server -js), enable it for "
                "this account, or correct link.js_domain"
            )
        try:
            found = json.loads(answer.data)
            error = found.get("error")
            if error is None:
                return dict(found)
            code, text = int(error.get("err_code", 0)), str(error.get("description", ""))
        except (ValueError, AttributeError, TypeError) as error:
            raise ServerError(f"{where} answers a request to JetStream in an unknown form") from error
        raise RequestError(code, text)

    def _stored(self, answer: Answer) -> Stored:
        where, stream = self._connection.url, self._names.stream
        if answer.status == "503":
            raise UnreachableError(f"{where} stores nothing now: {stream} is missing, or its cluster elects a leader")
        try:
            found = self._result(answer)
            return Stored(str(found["stream"]), int(found["seq"]))
        except RequestError as error:
            if error.code in _FULL:
                raise LimitError(
                    f"{where} stores nothing more ({error}): give the stream more max_bytes, or the server more disk"
                ) from error
            raise self._error(error, stream) from error
        except (KeyError, ValueError, TypeError) as error:
            raise ServerError(f"{where} answers a message in an unknown form") from error

    def _error(self, error: RequestError, name: str) -> RavenError:
        """Return the error of raven for an error of JetStream that concerns an object."""
        for codes, kind, text in _ERRORS:
            if error.code in codes:
                return kind(text.format(name=name, where=self._connection.url, error=error))
        return ServerError(
            f"JetStream at {self._connection.url} refuses a request for {name}: {error} (code {error.code})"
        )

    # Objects.

    async def _make(
        self,
        stream: str,
        wanted: Mapping[str, Any],
        faults: Callable[[Mapping[str, Any], Mapping[str, Any]], list[str]],
    ) -> dict[str, Any]:
        """Return the settings of a stream, which is made if it is missing."""
        try:
            found = await self.request(f"STREAM.INFO.{stream}")
        except RequestError as error:
            if error.code != _NO_STREAM:
                raise self._error(error, stream) from error
            found = await self._create_stream(stream, wanted)
        config: dict[str, Any] = found.get("config", {})
        self._check(f"stream {stream}", faults(config, wanted))
        return config

    async def _make_consumer(self) -> None:
        names = self._names
        wanted = objects.consumer_config(names)
        try:
            found = await self.request(f"CONSUMER.INFO.{names.stream}.{names.host}")
        except RequestError as error:
            if error.code not in (_NO_CONSUMER, _NO_STREAM):
                raise self._error(error, names.host) from error
            request = {"stream_name": names.stream, "config": wanted}
            found = await self._create(f"CONSUMER.DURABLE.CREATE.{names.stream}.{names.host}", request, names.host)
        self._check(
            f"consumer {names.host} of {names.stream}", objects.consumer_faults(found.get("config", {}), wanted)
        )

    async def _create_stream(self, stream: str, wanted: Mapping[str, Any]) -> dict[str, Any]:
        if wanted["num_replicas"]:
            return await self._create(f"STREAM.CREATE.{stream}", wanted, stream)
        # Only the server that will hold the stream knows whether it belongs to a cluster.
        try:
            return await self._create(f"STREAM.CREATE.{stream}", {**wanted, "num_replicas": 3}, stream, _IS_ALONE)
        except RequestError:
            return await self._create(f"STREAM.CREATE.{stream}", {**wanted, "num_replicas": 1}, stream)

    async def _create(
        self, path: str, request: Mapping[str, Any], name: str, expected_code: int | None = None
    ) -> dict[str, Any]:
        try:
            return await self.request(path, request)
        except RequestError as error:
            if error.code == expected_code:
                raise
            raise self._error(error, name) from error
        except ForbiddenError as error:
            raise ForbiddenError(
                f"{name} is missing at {self._connection.url}, and this user may not make it: let an administrator run "
                "the commands that `raven link setup --print` shows"
            ) from error

    def _check(self, name: str, faults: list[str]) -> None:
        if faults:
            raise ConfigError(
                f"the {name} at {self._connection.url} has other settings: {'; '.join(faults)}; delete it if another "
                "program made it, or choose another link.realm"
            )
