"""Viewer: one event stream, from the position where it begins to its end, as fast as its client reads."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial

from raven.errors import BusyError, ClosedError, RavenError
from raven_http.events.filter import SERVER, Filter, Wanted
from raven_http.events.hub import UNREADABLE, Hub
from raven_http.events.position import Position, Start
from raven_http.events.source import Batch, Event, Source, frame

# A client that has read nothing for so long is taken for dead.
STALL_S = 60.0
# If the unread text of all streams is over the limit, so that others wait.
CROWDED_STALL_S = 5.0
HEARTBEAT_S = 15.0
_PIECE = 64 * 1024
_EVENTS_AT_ONCE = 200
_BUSY_PAUSE_S = 0.2


class Viewer:
    """Yields the text of an event stream piece by piece: first from the store, then from the hub's ring.

    A viewer whose next event the ring has dropped, or keeps no text of, reads on in the store. So a slow client costs
    one piece of memory, and holds back no other. `refused` is why its Last-Event-ID is none; the stream says so first.
    """

    def __init__(self, hub: Hub, filter: Filter, start: Start, refused: str = "") -> None:
        self.filter = filter
        self.is_ended = False
        self._hub = hub
        self._heartbeat = hub.server if SERVER in filter.kinds else b": hb\n\n"
        self._start: Start | None = start  # None once the position is known
        self._refused = refused
        self._position = Position(0, 0)
        self._sent_position = self._position
        self._tag = ""
        self._source: Source | None = None  # while it reads from the store
        self._number: int | None = None  # of the next event in the ring, None while it is not attached
        self._attached_at = self._position
        self._peers_version = self._stats_version = 0
        self._pieces: deque[bytes] = deque()
        self._held = self._given = 0  # bytes that count as unread, and among them the last piece
        self._wakeup: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._asked_at = self._given_at = self._loop.time()
        self._is_asked = False
        self._is_greeted = False
        self.interrupt: Callable[[], object] = lambda: None  # ends a write that the client does not read

    @property
    def is_stalled(self) -> bool:
        """Whether the client has not read the last piece."""
        return not self._is_asked

    # Called by the hub

    def on_attached(self, number: int, position: Position, tag: str) -> None:
        """Note from where on the ring has all events for this viewer."""
        self._number, self._attached_at, self._tag = number, position, tag
        self.wake()

    def on_reset(self, reason: str) -> None:
        """Begin anew at the end of the stream; the client is told to reload."""
        self._add_piece(frame("reset", {"reason": reason}))
        self._start, self._source, self._number = Start(), None, None
        self._peers_version = self._stats_version = 0
        self._hub.attach(self)
        self.wake()

    def wake(self) -> None:
        """Let `next` go on."""
        if self._wakeup is not None and not self._wakeup.done():
            self._wakeup.set_result(None)

    def tick(self) -> None:
        """Once a second: end a stalled stream, and send a heartbeat in time."""
        now = self._loop.time()
        stall_s = CROWDED_STALL_S if self._hub.unread.is_full() else STALL_S
        if not self._is_asked and now - self._given_at > stall_s:
            self.end()
        elif self._is_asked and now - self._given_at >= HEARTBEAT_S - 1:
            self.wake()

    def end(self) -> None:
        """End the stream, also if its client reads nothing."""
        self.is_ended = True
        if self._is_asked:
            self.wake()
        else:
            self.interrupt()

    # Called by the stream

    async def next(self) -> bytes | None:
        """Return the next piece of the stream when there is one; None at its end. The last piece is written."""
        self._is_asked = True
        self._count(-self._given)
        self._given = 0
        while not self.is_ended:
            if not self._pieces and (more := await self._more()):
                self._add_piece(more)
            if self._pieces:
                piece = self._pieces.popleft()
                self._is_asked, self._given, self._given_at = False, len(piece), self._loop.time()
                return piece
        return None

    def close(self) -> None:
        """Drop the pieces that were not written."""
        self._pieces.clear()
        self._count(-self._held)
        self._given = 0

    async def _more(self) -> bytes:
        """Return text that is ready, or wait for more and return nothing."""
        if self._number is None:
            return await self._pause()
        if not self._is_greeted:
            self._is_greeted = True
            return self._greeting()
        if self._start == Start():
            # From this position a client resumes that has got no event yet.
            self._position, self._start = self._attached_at, None
            return self._position_line()
        # Before the messages of the past, and between their pages.
        if present := self._of_presence():
            return present
        if self._start is not None or not self._position.covers(self._attached_at):
            await self._read_store()
            return b""
        self._source = None
        return self._of_ring(self._number) or await self._pause()

    def _greeting(self) -> bytes:
        """Return the events that say how the server serves, and which events this stream cannot give."""
        texts = [self._heartbeat] if SERVER in self.filter.kinds else []
        if self._refused:
            texts.append(frame("reset", {"reason": self._refused}))
        if self._hub.refusal and "receipt" in self.filter.kinds:
            texts.append(frame("notice", {"reason": f"there are no receipts: {self._hub.refusal}"}))
        return b"".join(texts)

    def _position_line(self) -> bytes:
        self._sent_position = self._position
        return f"id: {self._position.text(self._tag)}\n\n".encode()

    async def _pause(self) -> bytes:
        """Wait to be woken; return a heartbeat if it is due."""
        self._wakeup = self._loop.create_future()
        try:
            await self._wakeup
        finally:
            self._wakeup = None
        if self._loop.time() - self._given_at < HEARTBEAT_S - 1:
            return b""
        if self._number is None or self._start is not None or self._position == self._sent_position:
            return self._heartbeat
        return self._heartbeat + self._position_line()

    async def _read_store(self) -> None:
        """Read one page from the store, in turn, and when the clients of all streams have read enough of theirs."""
        async with self._hub.turn:
            if self.is_ended:
                return
            if self._hub.unread.is_full():
                await asyncio.sleep(_BUSY_PAUSE_S)
                return
            await self._read_page()

    async def _read_page(self) -> None:
        wanted = Wanted(frozenset({self.filter}), is_logged=not self._hub.refusal)
        try:
            batch = await self._hub.read(partial(self._step, wanted))
        except BusyError:
            await asyncio.sleep(_BUSY_PAUSE_S)
            return
        except ClosedError:
            self.end()
            return
        except RavenError:  # the hub meets it as well, and begins anew
            self.on_reset(UNREADABLE)
            return
        if self._number is None:  # reset meanwhile
            return
        if batch.reset:
            self.on_reset(batch.reset)
            return
        self._start = None
        self._position, self._tag = batch.position, batch.tag
        self._put(batch.events)

    def _step(self, wanted: Wanted) -> Batch:
        """Read on from the viewer's position; in the thread of the reader."""
        if self._source is None:
            start = self._start or Start(*self._position, self._tag or None)
            source = Source(self._hub.bus, start, is_logged=wanted.is_logged)
            if source.reset:
                return Batch([], source.position, reset=source.reset)
            self._source = source
        return self._source.step(wanted)

    def _put(self, events: Iterable[Event]) -> None:
        piece: list[bytes] = []
        size = 0
        for event in events:
            text = event.texts[self.filter.preview]
            self._sent_position = event.position
            piece.append(text)
            size += len(text)
            if size > _PIECE:
                self._add_piece(b"".join(piece))
                piece, size = [], 0
        if piece:
            self._add_piece(b"".join(piece))

    def _add_piece(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._count(len(piece))

    def _count(self, size: int) -> None:
        self._held += size
        self._hub.unread.add(size)

    def _of_presence(self) -> bytes:
        """Return the peer and stats events that the client does not have yet."""
        presence = self._hub.presence
        texts = []
        if "peer" in self.filter.kinds and self._peers_version != presence.version:
            changed = presence.peers_after(self._peers_version)
            texts += [text for address, text in changed if self.filter.allows_peer(address)]
            self._peers_version = presence.version
        if "stats" in self.filter.kinds and self._stats_version != presence.stats_version:
            texts.append(presence.stats)
            self._stats_version = presence.stats_version
        return b"".join(texts)

    def _of_ring(self, number: int) -> bytes:
        """Return the events of the ring from a number on; detach from it if it does not have them."""
        texts: list[bytes] = []
        size = 0
        while size <= _PIECE:
            events = self._hub.ring.after(number, _EVENTS_AT_ONCE)
            if events is None:
                self._detach()
                break
            if not events:
                self._number = number
                self._position = _later(self._position, self._hub.position)
                break
            for event in events:
                if event.is_after(self._position):
                    if self._allows(event):
                        text = event.texts.get(self.filter.preview)
                        if text is None:
                            self._detach()
                            return b"".join(texts)
                        self._position = _later(self._position, event.position)
                        if self._position != event.position:
                            # This viewer is further than the hub was: the last `id:` of an event counts.
                            text = text[:-1] + self._position_line()
                        self._sent_position = self._position
                        texts.append(text)
                        size += len(text)
                    else:
                        self._position = _later(self._position, event.position)
                number += 1
                self._number = number
                if size > _PIECE:
                    break
        return b"".join(texts)

    def _allows(self, event: Event) -> bool:
        return event.kind in self.filter.kinds and self.filter.allows(event.sender, event.type, event.recipients)

    def _detach(self) -> None:
        """Read on from the store, until the ring has all later events."""
        self._number = None
        self._hub.attach(self)


def _later(one: Position, other: Position) -> Position:
    return Position(max(one.message, other.message), max(one.change, other.change))
