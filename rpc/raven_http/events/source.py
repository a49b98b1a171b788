"""Source: reads the messages and changes of the bus from a position on, and encodes them as events."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from raven.host.bus import HostedBus
from raven.model import clock
from raven.model.message import Message
from raven.model.status import Receipt
from raven.query.changes import Change, End
from raven_http.events.filter import Wanted
from raven_http.events.position import Position, Start

# One step reads at most so many messages, then at most so many changes.
_MESSAGES = 200
_CHANGES = 500
_PAGE_BYTES = 1024 * 1024
# A message event shows the receipts of so many recipients.
MAX_RECEIPTS = 100
_NO_RECIPIENTS: frozenset[str] = frozenset()
_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(slots=True)
class Event:
    """One event, encoded for each preview that a viewer of it wants; no text is kept of a long one.

    `recipients` are the message's recipients that any filter names.
    """

    kind: str
    position: Position
    sender: str
    type: str
    recipients: Collection[str]
    texts: dict[int | None, bytes] = field(default_factory=dict)

    def size(self) -> int:
        """Return the bytes of its texts; a text that serves several previews counts once."""
        return sum({id(text): len(text) for text in self.texts.values()}.values())

    def is_after(self, position: Position) -> bool:
        """Whether a viewer at a position does not have it yet."""
        if self.kind == "message":
            return self.position.message > position.message
        return self.position.change > position.change


@dataclass(slots=True)
class Batch:
    """The events of one step, and the position after it; `reset` says why the stream cannot go on from its position."""

    events: list[Event]
    position: Position
    tag: str = ""
    is_at_end: bool = False
    reset: str = ""


class Source:
    """A position in the stream, from which `step` reads on. Use it in one thread at a time, that of the reader."""

    def __init__(self, bus: HostedBus, start: Start, *, is_logged: bool) -> None:
        self._bus = bus
        self._log = bus.change_log()
        end = self._log.end(is_logged=is_logged)
        self._replaced, self.tag = end.replaced, end.tag
        self._target: End | None = None
        self.reset = _why_not(start, end)
        newest = Position(end.message, end.change)
        if not self.reset and start.last is not None:
            self.position = Position(max(0, end.message - start.last), newest.change)
        elif self.reset or start.message is None:
            self.position = newest
        else:
            self.position = Position(min(start.message, end.message), newest.change)
            if start.change is not None:
                self.position = Position(start.message, start.change)
        self._cursor = bus.log(self.position.message + 1)

    def step(self, wanted: Wanted) -> Batch:
        """Read the next messages, or the next changes; a change follows the message that it concerns."""
        end = self._log.end(is_logged=wanted.is_logged)
        reset = self._why_not_here(end)
        if reset:
            return Batch([], self.position, reset=reset)
        target = self._target or end
        events: list[Event] = []
        message, change = self.position
        if message < target.message:
            messages = self._cursor.step(_MESSAGES, max_bytes=_PAGE_BYTES)
            if messages and messages[0].id <= message:  # another file has come just now
                return self.step(wanted)
            events += self._message_events(messages, wanted)
            message = self._cursor.next_id - 1
        if message >= target.message and change < target.change:
            last = min(target.change, change + _CHANGES)
            events += self._change_events(self._log.between(change, last), message, wanted)
            change = last
        self.position = Position(message, change)
        self._target = None if self.position.covers(Position(target.message, target.change)) else target
        is_at_end = self.position.covers(Position(end.message, end.change))
        return Batch(events, self.position, self.tag, is_at_end)

    def _why_not_here(self, end: End) -> str:
        if end.replaced != self._replaced or end.tag != self.tag:
            return "another file has replaced the bus, or its change log has a gap"
        return _why_not(Start(*self.position), end)

    def _message_events(self, messages: Sequence[Message], wanted: Wanted) -> list[Event]:
        wanting = [one for one in wanted.filters if "message" in one.kinds]
        if not wanting or not messages:
            return []
        recipients = self._recipients([message.id for message in messages], wanted)
        shown = [
            message
            for message in messages
            if wanted.allows("message", message.sender, message.type, recipients.get(message.id, _NO_RECIPIENTS))
        ]
        receipts = self._log.receipts([message.id for message in shown], MAX_RECEIPTS) if shown else {}
        previews = {one.preview for one in wanting}
        events = []
        for message in shown:
            event = Event(
                "message",
                Position(message.id, self.position.change),
                message.sender,
                message.type,
                recipients.get(message.id, _NO_RECIPIENTS),
            )
            self._encode_message(event, message, receipts.get(message.id, ()), previews)
            events.append(event)
        return events

    def _encode_message(
        self, event: Event, message: Message, receipts: Iterable[Receipt], previews: Collection[int | None]
    ) -> None:
        json = message.as_dict()
        json["recipients"] = [receipt.as_dict() for receipt in receipts]
        body = _to_json(message.body) if previews - {None} else ""  # type: ignore[operator]
        whole = b""
        for preview in previews:
            if preview is not None and len(body) > preview:
                cut = {**json, "body": None, "truncated": True, "preview": body[:preview]}
                event.texts[preview] = frame("message", cut, event.position.text(self.tag))
            else:
                whole = event.texts[preview] = whole or frame("message", json, event.position.text(self.tag))

    def _change_events(self, changes: Sequence[Change], message: int, wanted: Wanted) -> list[Event]:
        wanting = [one for one in wanted.filters if "receipt" in one.kinds]
        if not wanting or not changes:
            return []
        recipients = self._recipients(list({change.message_id for change in changes}), wanted)
        previews = {one.preview for one in wanting}
        events = []
        for change in changes:
            concerned = recipients.get(change.message_id, _NO_RECIPIENTS)
            if not wanted.allows("receipt", change.sender, change.type, concerned):
                continue
            position = Position(message, change.id)
            json = {"id": change.message_id, "at": clock.isoformat(change.at), **change.receipt.as_dict()}
            text = frame("receipt", json, position.text(self.tag))
            events.append(
                Event("receipt", position, change.sender, change.type, concerned, dict.fromkeys(previews, text))
            )
        return events

    def _recipients(self, ids: Sequence[int], wanted: Wanted) -> Mapping[int, frozenset[str]]:
        addresses = frozenset[str]().union(*(one.addresses for one in wanted.filters))
        sessions = frozenset[str]().union(*(one.sessions for one in wanted.filters))
        return self._log.recipients(ids, addresses, sessions) if addresses or sessions else {}


def frame(name: str, data: Mapping[str, Any], position: str = "") -> bytes:
    """Return an event as text; with `position` a client resumes after it."""
    id = f"id: {position}\n" if position else ""
    return f"event: {name}\n{id}data: {_to_json(data)}\n\n".encode(errors="replace")


def _why_not(start: Start, end: End) -> str:
    """Return why a stream cannot go on from a position, or an empty text."""
    message, change, tag, _ = start
    if tag is not None and tag != end.tag:
        return "the position is of another file, or of before a gap in the change log"
    if change is None or message is None:
        return ""
    if message > end.message or change > end.change:
        return "the position is of another file: this one has no such message or change"
    if change < end.change and change + 1 < end.oldest:
        return "the position is older than the change log"
    return ""
