"""Pull: the mail of this host as it comes, by requests that end soon, so that a silent server is asked again."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from raven.errors import RavenError, UnreachableError
from raven.link.jetstream.client import Answer
from raven.link.server import Server

_BATCH = 64
# As much as may lie here untaken, at the largest messages.
_BATCH_BYTES = 64 << 20
_EXPIRES_S = 5.0
_HEARTBEAT_S = 1.0
_SILENCE_S = 2.5
_DELETION_S = 1.0
_CANCEL_S = 0.1
_FIRST_PAUSE_S = 0.05
_LAST_PAUSE_S = 2.0
# Why a request has ended: the batch is whole, nothing was heard, or the status that the server has sent.
_FULL = "full"
_SILENT = "silent"
_HEARTBEAT = "100"
_GONE = (_SILENT, "503", "409 consumer deleted")


class Parcel(NamedTuple):
    """A message with mail: from which host, and how to tell JetStream that it is taken in."""

    sender: str
    data: bytes
    headers: Mapping[str, str]
    ack_subject: str

    @property
    def deliveries(self) -> int:
        """How often JetStream has delivered this message, this time included; 0 if it does not say."""
        # $JS.ACK, then possibly domain and account, then stream, consumer, deliveries, and four or five more.
        tokens = self.ack_subject.split(".")
        place = 4 if len(tokens) == 9 else 6
        return int(tokens[place]) if len(tokens) > place and tokens[place].isdigit() else 0


class Pull:
    """The mail of this host: `async for parcels in pull` yields all that has come, in order, one parcel at least.

    A parcel that is not acked comes again after 10 s. Pulling goes on whatever happens to the connection, the server,
    the stream or the consumer: they are set up again if they are missing. While parcels lie here untaken no more are
    asked for. Iterate once, and end it with `close`.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._subject = server.connection.new_inbox("pull")
        self._parcels: deque[Parcel] = deque()
        self._has_come = asyncio.Event()
        self._is_taken = asyncio.Event()
        self._number = 0
        self._left = 0
        self._heard_at = 0.0
        self._end: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run())
        self._task.add_done_callback(lambda task: self._has_come.set())

    def __aiter__(self) -> Pull:
        return self

    async def __anext__(self) -> list[Parcel]:
        while not self._parcels:
            if self._task.done():
                if not self._task.cancelled():
                    self._task.result()
                raise StopAsyncIteration
            self._has_come.clear()
            await self._has_come.wait()
        parcels = list(self._parcels)
        self._parcels.clear()
        self._is_taken.set()
        return parcels

    @property
    def requests(self) -> int:
        """How often mail was asked for so far."""
        return self._number

    async def ack(self, parcels: Sequence[Parcel]) -> None:
        """Tell JetStream that these parcels are taken in; without a connection nothing is told, and they come again."""
        with suppress(UnreachableError):
            for parcel in parcels:
                await self._server.connection.send(parcel.ack_subject, b"+ACK")

    async def close(self) -> None:
        """Ask for no more mail, and end the iteration; a second call does nothing."""
        while not self._task.done():
            self._task.cancel()  # once more if nats-py swallows it: its flush does, if the answer comes just now
            await asyncio.wait({self._task}, timeout=_CANCEL_S)
        if not self._task.cancelled():
            self._task.exception()  # the iteration has raised it
        await self._server.connection.stop_listening(f"{self._subject}.*")

    async def _run(self) -> None:
        connection = self._server.connection
        await connection.listen(f"{self._subject}.*", self._hear)
        pause_s = 0.0
        while True:
            await connection.wait_ready()
            while self._parcels:
                self._is_taken.clear()
                await self._is_taken.wait()
            asked_at = time.monotonic()
            try:
                reason = await self._ask()
                if reason in _GONE:
                    # A stream that is made while the server still deletes the old one of its name may store nothing.
                    await asyncio.sleep(_DELETION_S)
                    await self._server.ensure()
            except RavenError as error:
                connection.report_failure(error)
                reason = ""
            # A request that ends at once, as while a cluster elects a leader, must not become a storm of them.
            is_sound = reason == _FULL or time.monotonic() - asked_at > _HEARTBEAT_S
            pause_s = 0.0 if is_sound else min(max(2 * pause_s, _FIRST_PAUSE_S), _LAST_PAUSE_S)
            await asyncio.sleep(pause_s)

    async def _ask(self) -> str:
        """Ask for mail, wait for the end of the request, and return why it has ended."""
        connection = self._server.connection
        self._number += 1
        self._left = max(1, min(_BATCH, _BATCH_BYTES // max(1, self._server.max_payload)))
        self._end = asyncio.get_running_loop().create_future()
        self._heard_at = time.monotonic()
        lost = connection.lost
        await self._server.api.ask_for_mail(f"{self._subject}.{self._number}", self._left, _EXPIRES_S, _HEARTBEAT_S)
        while not self._end.done():
            silence_s = time.monotonic() - self._heard_at
            if silence_s >= _SILENCE_S:
                return _SILENT
            await asyncio.wait({self._end, lost}, timeout=_SILENCE_S - silence_s, return_when=asyncio.FIRST_COMPLETED)
            if lost.done():
                return "lost"
        return self._end.result()

    def _hear(self, message: Answer) -> None:
        self._heard_at = time.monotonic()
        if not message.status:
            # Also what an earlier request has brought late.
            sender = message.subject.rpartition(".")[2]
            self._parcels.append(Parcel(sender, message.data, message.headers, message.reply))
            self._has_come.set()
            self._left -= 1
            if self._left <= 0:
                self._finish(_FULL)
        elif message.status != _HEARTBEAT and message.subject.endswith(f".{self._number}"):
            self._finish(f"{message.status} {message.headers.get('Description', '')}".strip().lower())

    def _finish(self, reason: str) -> None:
        if not self._end.done():
            self._end.set_result(reason)
