"""Relay: it links the buses of several hosts, by an event loop for the server and a thread for the bus file."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from raven.errors import ForbiddenError, LostError, RavenError, ServerError, UnreachableError
from raven.exchange.exchange import Exchange
from raven.link import status
from raven.link.envelope import decode_sign
from raven.link.pull import Pull
from raven.link.relay.intake import Intake
from raven.link.relay.outward import Posting
from raven.link.relay.store_thread import StoreThread
from raven.link.relay.work import Orders, Work
from raven.link.server import Event, Server, connect
from raven.link.settings import LinkSettings, is_name
from raven.model import clock

if TYPE_CHECKING:
    from raven.link.relay.work import Arrival
    from raven.link.server import Stored

# From one status to the next, at most and at least; and how often missing pages of cards are looked for.
_STATUS_S, _LEAST_STATUS_S, _PAGES_S = 5.0, 0.25, 2.0
# Another relay puts its card each 5 s.
_DOUBT_S = 6.5
_LAST_S = 2.0
_THREAD_S = 15.0
_FIRST_PAUSE_S, _MAX_PAUSE_S = 0.5, 10.0
# A change of the offset below this, or below its error, is noise.
_OFFSET_STEP_US = 2000
_log = logging.getLogger("raven")


class Relay:
    """Links the bus at `db_path` with the buses of other hosts; `on_ready` is called with the URL of the server.

    A message that is here for another host leaves through the server, and one that comes is committed here, in the
    store thread. Nothing is acked before it is committed; nothing is published before it is on this host's disk.
    """

    def __init__(
        self,
        db_path: str,
        settings: LinkSettings,
        *,
        busy_timeout_s: float | None = None,
        max_body_bytes: int | None = None,
        identity_ttl_s: float | None = None,
        on_ready: Callable[[str], None] = lambda url: None,
    ) -> None:
        self._db_path = db_path
        self._settings = settings
        self._open_exchange = partial(
            Exchange,
            db_path,
            settings.name,
            sessions=settings.sessions,
            accept=settings.accept,
            window=settings.window,
            window_bytes=settings.window_bytes,
            durability=settings.durability,
            busy_timeout_s=busy_timeout_s,
            max_body_bytes=max_body_bytes,
            identity_ttl_s=identity_ttl_s,
        )
        self._on_ready = on_ready
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._loop = asyncio.get_running_loop()
        self._orders: asyncio.Queue[Orders] = asyncio.Queue()
        self._server: Server | None = None
        self._pull: Pull | None = None
        self._intake: Intake | None = None
        self._connected_at: int | None = None
        self._began_at = clock.now()
        self._failure: str | None = None
        self._status: dict[str, Any] = {}
        self._is_alive_now = asyncio.Event()  # a host is, which the status does not say
        self._offset: tuple[int, int] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    def stop(self) -> None:
        """Let `run` return after the current transaction and the last card."""
        if not self._ended.done():
            self._ended.set_result(None)

    async def run(self) -> None:
        """Link until `stop`; raises BindError if a relay of this bus runs already.

        Raises ConfigError or ForbiddenError if the server does not take this host as it is configured, DatabaseError
        if the bus file cannot be used, and ServerError for an error that is not foreseen. Other errors of the server
        are logged and shown in the status, and the relay tries again.
        """
        with self._open_exchange():  # makes a missing bus file, and reports an unusable one at once
            pass
        with status.RelayLock(self._db_path) as lock:
            self._work = Work(self._open_exchange, self._take_orders, self._settings.name, lock.run)
            self._thread = StoreThread(self._work, self._on_thread_end)
            self._thread.start()
            try:
                await self._link(lock.last_run)
            finally:
                await self._end()

    async def _link(self, last_run: str | None) -> None:
        server = await self._connect()
        if server is None:
            return
        await server.subscribe_cards(self._on_card)
        await server.subscribe_signs(self._on_sign)
        await self._read_first_cards(server)
        if await self._call(partial(self._is_doubtful, last_run)):
            await asyncio.wait({self._ended}, timeout=_DOUBT_S)
        if not self._ended.done():
            self._thread.submit(partial(self._work.connect, server.max_payload))
            self._pull = Pull(server)
            self._intake = Intake(self._pull, self._settings.name, self._give, self._thread.wake)
            for task in (self._intake.run(), self._carry_out(server), self._write_status(), self._complete(server)):
                self._start(task, is_lasting=True)
            self._on_ready(server.connection.url)
        await self._ended

    async def _connect(self) -> Server | None:
        """Connect, as often as it takes; returns None if the relay is stopped meanwhile."""
        pause_s = _FIRST_PAUSE_S
        while not self._ended.done():
            try:
                self._server = await connect(self._settings, self._on_event)
            except ServerError as error:
                if isinstance(error, ForbiddenError):
                    raise
                self._note_failure(error)
                await asyncio.wait({self._ended}, timeout=pause_s)
                pause_s = min(2 * pause_s, _MAX_PAUSE_S)
            else:
                self._connected_at, self._failure = clock.now(), None
                return self._server
        return None

    async def _read_first_cards(self, server: Server) -> None:
        """Read the cards, as often as it takes, unless the relay is stopped meanwhile."""
        while not self._ended.done() and (error := await self._try_cards(server)):
            if isinstance(error, ForbiddenError):
                raise error
            self._note_failure(error)
            await asyncio.wait({self._ended}, timeout=_FIRST_PAUSE_S)

    def _note_failure(self, error: RavenError) -> None:
        """Show an error of the server that may pass."""
        if str(error) != self._failure:
            self._failure = str(error)
            _log.warning("%s; trying again", error)

    async def _end(self) -> None:
        """Finish the transaction, put the last card, and close everything."""
        self.stop()  # no task's end counts any more
        if self._pull is not None:
            await self._pull.close()
        self._thread.submit(self._work.leave)
        self._thread.stop()
        await asyncio.to_thread(self._thread.join, _THREAD_S)
        with suppress(TimeoutError):
            if self._server is not None:
                await asyncio.wait_for(self._drain(self._server), _LAST_S)
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_LAST_S)
        if self._server is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._server.close(), _LAST_S)
        with suppress(OSError):
            status.write(self._db_path, {**self._status, "ended_at": clock.now()})

    async def _drain(self, server: Server) -> None:
        await asyncio.sleep(0)  # the thread's last orders
        while not self._orders.empty():
            await self._carry_out_one(server, self._orders.get_nowait())

    # The store thread.

    def _is_doubtful(self, last_run: str | None) -> bool:
        return self._work.whereabouts.is_doubtful(last_run)

    def _take_orders(self, orders: Orders) -> None:
        self._loop.call_soon_threadsafe(self._orders.put_nowait, orders)

    def _on_thread_end(self, error: BaseException | None) -> None:
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._end_with, error)

    def _end_with(self, error: BaseException | None) -> None:
        if not self._ended.done():
            if error is None:
                self._ended.set_result(None)
            elif isinstance(error, RavenError):
                self._ended.set_exception(error)
            else:
                # Never as it is: a command takes a BrokenPipeError for the end of its reader, and ends quietly.
                _log.error("the relay has failed", exc_info=error)
                text = f"the relay has failed ({type(error).__name__}: {error}): report this, and start it again"
                self._ended.set_exception(ServerError(text))

    async def _call(self, function: Callable[[], Any]) -> Any:
        """Run a function in the store thread, and return its result; None if the thread ends before."""
        result: asyncio.Future[Any] = self._loop.create_future()

        def resolve(value: Any) -> None:
            if not result.done():
                result.set_result(value)

        self._thread.submit(lambda: self._loop.call_soon_threadsafe(resolve, function()))
        await asyncio.wait({result, self._ended}, return_when=asyncio.FIRST_COMPLETED)
        return result.result() if result.done() else None

    # The server.

    def _on_event(self, event: Event) -> None:
        if event.kind == "connected":
            self._connected_at, self._failure = clock.now(), None
            if self._pull is not None:  # it has connected again
                _log.info("%s", event.text)
                self._start(self._rejoin())
        elif event.kind == "disconnected":
            self._connected_at = None
            self._thread.submit(self._work.disconnect)
            _log.warning("%s; mail to other hosts waits", event.text)
        else:
            if event.text != self._failure:
                _log.warning("%s", event.text)
            self._failure = event.text

    async def _rejoin(self) -> None:
        """Go on after a lost connection: read the cards that were missed, or try that again later, and publish."""
        if (server := self._server) is None:
            return
        lost, pause_s, error = server.connection.lost, _FIRST_PAUSE_S, await self._try_cards(server)
        if server.is_ready:
            self._thread.submit(partial(self._work.connect, server.max_payload))
        while error and not lost.done():  # if it is lost again, the next connection comes here again
            self._note_failure(error)
            await asyncio.wait({lost}, timeout=pause_s)
            pause_s = min(2 * pause_s, _MAX_PAUSE_S)
            error = None if lost.done() else await self._try_cards(server)

    async def _try_cards(self, server: Server) -> RavenError | None:
        try:
            cards = await server.read_cards()
        except RavenError as error:
            return error
        now = clock.now() + (self._offset[0] if self._offset else 0)
        for card in cards.values():
            age_s = max(0.0, (now - card.stored_at) / 1e6)
            self._thread.submit(partial(self._work.meet, card.key, card.data, age_s))
        return None

    async def _complete(self, server: Server) -> None:
        """Read the cards again while a page of the same card stays missing."""
        missing: set[str] = set()
        while True:
            await asyncio.sleep(_PAGES_S)
            before, missing = missing, await self._call(self._work.whereabouts.cards.incomplete) or set()
            if before & missing:
                await self._try_cards(server)  # after an error the next look reads them

    def _on_card(self, key: str, data: bytes) -> None:
        self._thread.submit(partial(self._work.meet, key, data))
        host = self._status.get("hosts", {}).get(key)
        if self._is_other(key) and not (host and host["is_alive"]):
            self._is_alive_now.set()

    def _on_sign(self, sender: str, data: bytes) -> None:
        sign = decode_sign(data)
        if sign is not None and self._is_other(sender):
            self._thread.submit(partial(self._work.hear, sender, sign.confirmation, is_gap=sign.is_behind))

    def _give(self, sender: str, arrival: Arrival) -> None:
        self._thread.submit(partial(self._work.receive, sender, arrival), wakes=False)

    def _is_other(self, sender: str) -> bool:
        return is_name(sender) and sender != self._settings.name

    async def _carry_out(self, server: Server) -> None:
        """Carry out the orders of the store thread, in their order."""
        while True:
            await self._carry_out_one(server, await self._orders.get())

    async def _carry_out_one(self, server: Server, orders: Orders) -> None:
        for posting in orders.postings:
            await self._publish(server, posting)
        for host, data in orders.signs:
            await server.sign(host, data)
        if orders.acks and self._intake is not None:
            await self._intake.ack(orders.acks)
        if orders.cards:
            self._start(self._put_card(server, orders.cards))

    async def _publish(self, server: Server, posting: Posting) -> None:
        try:
            answers = [await server.publish(posting.host, part.data, part.headers) for part in posting.parts]
        except RavenError as error:
            self._thread.submit(partial(self._work.answered, posting.host, posting.sent, error))
            return
        if len(answers) == 1:
            answers[0].add_done_callback(partial(self._on_answer, posting))
        else:
            self._start(self._await_answers(posting, answers))

    def _on_answer(self, posting: Posting, answer: asyncio.Future[Stored]) -> None:
        error = LostError("the link was closed") if answer.cancelled() else answer.exception()
        known = error if error is None or isinstance(error, RavenError) else LostError(str(error))
        job = partial(self._work.answered, posting.host, posting.sent, known)
        self._thread.submit(job, wakes=known is not None or self._work.wants_answers)

    async def _await_answers(self, posting: Posting, answers: Collection[asyncio.Future[Stored]]) -> None:
        """Wait until all parts of an envelope are stored, or one is not."""
        whole: asyncio.Future[Any] = self._loop.create_future()
        results = await asyncio.gather(*answers, return_exceptions=True)
        errors = [one for one in results if isinstance(one, BaseException)]
        if errors:
            whole.set_exception(errors[0])
        else:
            whole.set_result(None)
        self._on_answer(posting, whole)

    async def _put_card(self, server: Server, pages: Collection[tuple[str, bytes]]) -> None:
        """Put the card, and measure by it how far the clock of the server is ahead."""
        try:
            for key, data in pages:
                await server.put_card(key, data)
            measured = await server.clock_offset()
        except RavenError as error:
            if not isinstance(error, UnreachableError | LostError):
                self._failure = str(error)
            return
        if measured is not None:
            known = self._offset
            noise = max(_OFFSET_STEP_US, measured.error)
            if known is None or abs(measured.offset - known[0]) > noise or measured.error < known[1] // 2:
                self._offset = (measured.offset, measured.error)
                self._thread.submit(partial(self._work.set_offset, measured.offset), wakes=False)

    # The status.

    async def _write_status(self) -> None:
        """Write the status file each 5 s, and when a host becomes alive, if it has changed."""
        written: dict[str, Any] = {}
        while True:
            self._is_alive_now.clear()
            self._status = await self._describe()
            if self._status != written:
                with suppress(OSError):
                    await asyncio.to_thread(status.write, self._db_path, self._status)
                    written = self._status
            await asyncio.sleep(_LEAST_STATUS_S)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._is_alive_now.wait(), _STATUS_S - _LEAST_STATUS_S)

    async def _describe(self) -> dict[str, Any]:
        server = self._server
        stream = None
        if server is not None and server.is_ready:
            with suppress(RavenError):
                stream = (await server.info())._asdict()
        return {
            "pid": os.getpid(),
            "name": self._settings.name,
            "realm": self._settings.realm,
            "began_at": self._began_at,
            "connected_at": self._connected_at,
            "failure": self._failure,
            "server": stream,
            "dropped": dict(self._intake.dropped) if self._intake else {},
            **(await self._call(self._work.snapshot) or {}),
        }

    def _start(self, task: Any, *, is_lasting: bool = False) -> None:
        """Run a coroutine beside the others; an unexpected error of it, or any end if it must last, ends the relay."""
        started = self._loop.create_task(task)
        self._tasks.add(started)
        started.add_done_callback(partial(self._on_task_end, is_lasting))

    def _on_task_end(self, is_lasting: bool, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None or is_lasting:
            self._end_with(error or RuntimeError("a task ended that must not"))
