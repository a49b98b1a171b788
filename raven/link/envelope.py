"""Envelopes: frames for one host as messages of the server, in parts if they are long; and signs, which only confirm.

A message of the server has two headers: `Raven-Zip: 1` if it is deflated, and `Raven-Part: INDEX/COUNT SIZE DIGEST` if
it is a part of an envelope of SIZE bytes with that BLAKE2b digest. All parts but the last have the same size.
"""

# Without `from __future__ import annotations`: a NamedTuple would compile the text of each type when it is made.

import json
import re
import zlib
from collections import Counter
from collections.abc import Hashable, Mapping
from hashlib import blake2b
from typing import Any, Generic, NamedTuple, TypeVar

from raven.exchange.values import Batch, Confirmation, Incoming
from raven.model.body import count_values
from raven.model.limits import is_integer

_Handle = TypeVar("_Handle")

ZIP, PART = "Raven-Zip", "Raven-Part"
# What the server adds to a message, with its subject and headers, fits into this.
ROOM = 1 << 10
# An envelope that says it is longer, or inflates to more, is dropped.
MAX_BYTES = 64 << 20
_ZIP_FROM = 2 << 10
_MAX_VALUES = 1_000_000
# A text of so many bytes takes little memory when it is parsed, whatever its values.
_SHORT = 1 << 20
_LARGEST = 1 << 62
_PART = re.compile(r"([1-9][0-9]{0,5})/([1-9][0-9]{0,5}) ([1-9][0-9]{0,8}) ([0-9a-f]{16})")
# Unfinished envelopes of one host, and the memory of all hosts' unfinished ones, with that of each part's handle.
_MAX_OPEN = 4
_HANDLE_BYTES = 1 << 10
_MAX_OPEN_BYTES = 2 * MAX_BYTES
# So many copies of its parts may be kept to be acked with an envelope, per part.
_MAX_COPIES = 4
# An envelope is given up when no part has come for so long, and when it is so old.
_IDLE_S, _MAX_AGE_S = 60.0, 3600.0


class Parcel(NamedTuple):
    """One message of the server: its data, and its headers."""

    data: bytes
    headers: Mapping[str, str]


class Envelope(NamedTuple):
    """The content of an envelope: frames, and the last frame that its sender has committed, if any."""

    incoming: Incoming
    confirmation: Confirmation | None


class Sign(NamedTuple):
    """The last frame that a host has committed; `is_behind` if it has seen later ones that do not follow it."""

    confirmation: Confirmation
    is_behind: bool


class Received(NamedTuple, Generic[_Handle]):
    """A whole envelope, and the handles of the messages that held it, to be acked once it is committed.

    `envelope` is None if it was dropped: its messages need only be acked. `size` is the length of its text, inflated,
    in bytes; 0 if it was dropped.
    """

    envelope: Envelope | None
    handles: list[_Handle]
    size: int = 0


class _InvalidError(ValueError):
    """An envelope cannot be read; the text is the reason by which it is counted."""


def encode(batch: Batch, confirmation: Confirmation | None, max_payload: int) -> list[Parcel]:
    """Return the messages that carry a batch of frames, in their order.

    `max_payload` is the largest message that the server takes. Over 2 kB an envelope is deflated. The frames must come
    to less than MAX_BYTES.
    """
    ok = "" if confirmation is None else f'"ok":[{confirmation.epoch},{confirmation.number},{confirmation.tag}],'
    frames = ",".join([frame.text for frame in batch.frames])
    data = f'{{"e":{batch.epoch},"k":{batch.tag_before},{ok}"f":[{frames}]}}'.encode()
    headers = {}
    if len(data) > _ZIP_FROM:
        data, headers = zlib.compress(data, 1), {ZIP: "1"}
    room = max_payload - ROOM
    if len(data) <= room:
        return [Parcel(data, headers)]
    count = -(-len(data) // room)
    step = _step(len(data), count)
    whole = f"{count} {len(data)} {_digest(data)}"
    return [
        Parcel(data[step * index : step * (index + 1)], {**headers, PART: f"{index + 1}/{whole}"})
        for index in range(count)
    ]


def encode_sign(confirmation: Confirmation, is_behind: bool = False) -> bytes:
    """Return the sign that tells a host which of its frames are committed here, and whether later ones came already."""
    return b'{"e":%d,"n":%d,"k":%d%s}' % (*confirmation, b',"g":1' if is_behind else b"")


def decode_sign(data: bytes) -> Sign | None:
    """Return the sign of another host; None if it is none."""
    try:
        value = parse_json(data)
        confirmation = _confirmation([value["e"], value["n"], value["k"]]) if isinstance(value, dict) else None
    except (_InvalidError, KeyError):
        return None
    return None if confirmation is None else Sign(confirmation, value.get("g") == 1)


class Mailroom(Generic[_Handle]):
    """Puts envelopes together from the messages that come. A fault in one is counted, and raises no error.

    A handle stands for one message, which must be acked later. `dropped` counts the envelopes and parts that were
    dropped, by reason. Times are readings of time.monotonic. An unfinished envelope is bounded in bytes and in time,
    one sender in the number of unfinished envelopes, and all senders together in bytes.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.dropped: Counter[str] = Counter()
        self._max_bytes = max_bytes
        self._open: dict[str, dict[Hashable, _Parts[_Handle]]] = {}
        self._held = 0
        self._abandoned: list[_Handle] = []

    def add(
        self, sender: str, data: bytes, headers: Mapping[str, str] | None, handle: _Handle, now: float
    ) -> Received[_Handle] | None:
        """Take a message of a host; return the envelope that it is, or completes; None if parts are missing."""
        handles = [handle]
        try:
            part = headers.get(PART) if headers else None
            is_zipped = bool(headers and headers.get(ZIP))
            if part is not None:
                parts = self._add_part(sender, part, is_zipped, data, handle, now)
                if parts is None:
                    return None
                handles = parts.handles
                data = parts.join()
            if is_zipped:
                data = _inflate(data, self._max_bytes)
            elif len(data) > self._max_bytes:
                raise _InvalidError("too long")
            return Received(_decode(data), handles, len(data))
        except _InvalidError as error:
            self.dropped[str(error)] += 1
            return Received(None, handles)

    def take_abandoned(self, now: float) -> list[_Handle]:
        """Give up the envelopes whose parts have not come in time; return the messages to ack, which are of no use."""
        for sender, parts_of in list(self._open.items()):
            for key, parts in list(parts_of.items()):
                if now - parts.last_at > _IDLE_S or now - parts.first_at > _MAX_AGE_S:
                    self._give_up(sender, key, "parts missing")
        abandoned, self._abandoned = self._abandoned, []
        return abandoned

    def _add_part(
        self, sender: str, part: str, is_zipped: bool, data: bytes, handle: _Handle, now: float
    ) -> "_Parts[_Handle] | None":
        """Keep a part; return all if it was the last one; raises _InvalidError for one that fits no envelope."""
        match = _PART.fullmatch(part) if isinstance(part, str) else None
        if not match:
            raise _InvalidError("a part without its place")
        index, count, size = map(int, match.groups()[:3])
        step = _step(size, count)
        begin = step * (index - 1)
        if index > count or count < 2 or step * (count - 1) >= size:
            raise _InvalidError("a part without its place")
        if size > self._max_bytes:
            raise _InvalidError("too long")
        if len(data) != min(step, size - begin):
            raise _InvalidError("a part of another size")
        key = (count, size, match[4], is_zipped)
        parts_of = self._open.setdefault(sender, {})
        parts = parts_of.get(key)
        if parts is None:
            if len(parts_of) >= _MAX_OPEN:
                self._give_up(sender, min(parts_of, key=lambda one: parts_of[one].last_at), "too many unfinished")
                parts_of = self._open.setdefault(sender, {})
            parts = parts_of[key] = _Parts(count, match[4], now)
        held = parts.size
        if not parts.add(index, data, handle, now):
            self.dropped["a part of many copies"] += 1
            self._abandoned.append(handle)
        self._held += parts.size - held
        if len(parts.data) == count:
            self._remove(sender, key)
            return parts
        if self._held > _MAX_OPEN_BYTES:
            sizes = {(sender, key): parts.size for sender, some in self._open.items() for key, parts in some.items()}
            self._give_up(*max(sizes, key=sizes.__getitem__), "too many unfinished")
        return None

    def _give_up(self, sender: str, key: Hashable, reason: str) -> None:
        self.dropped[reason] += 1
        self._abandoned += self._remove(sender, key).handles

    def _remove(self, sender: str, key: Hashable) -> "_Parts[_Handle]":
        parts_of = self._open[sender]
        parts = parts_of.pop(key)
        self._held -= parts.size
        if not parts_of:
            del self._open[sender]
        return parts


class _Parts(Generic[_Handle]):
    """The parts of one envelope that have come, the handles of their messages, and the bytes that both take."""

    def __init__(self, count: int, digest: str, now: float) -> None:
        self.data: dict[int, bytes] = {}
        self.handles: list[_Handle] = []
        self.size = 0
        self.first_at = self.last_at = now
        self._digest = digest
        self._max_handles = _MAX_COPIES * count

    def add(self, index: int, data: bytes, handle: _Handle, now: float) -> bool:
        """Keep a part, or one more copy of it; return False, and do not keep the handle, if there are too many."""
        if index not in self.data:
            self.data[index] = data
            self.size += len(data)
            self.last_at = now  # a copy is no progress
        elif len(self.handles) >= self._max_handles:
            return False
        self.handles.append(handle)
        self.size += _HANDLE_BYTES
        return True

    def join(self) -> bytes:
        """Return the whole envelope; raises _InvalidError if it is not the one that its sender cut."""
        data = b"".join(self.data[index] for index in sorted(self.data))
        if _digest(data) != self._digest:
            raise _InvalidError("parts that do not fit")
        return data


def _step(size: int, count: int) -> int:
    """Return the size of all parts but the last."""
    return -(-size // count)


def _digest(data: bytes) -> str:
    return blake2b(data, digest_size=8).hexdigest()


def _decode(data: bytes) -> Envelope:
    """Return the content of an envelope, of its text; raises _InvalidError."""
    value = parse_json(data)
    if not isinstance(value, dict):
        raise _InvalidError("malformed")
    frames, ok = value.get("f"), value.get("ok")
    confirmation = None if ok is None else _confirmation(ok)
    if not isinstance(frames, list) or (ok is not None and confirmation is None):
        raise _InvalidError("malformed")
    return Envelope(Incoming(value.get("e"), value.get("k"), frames), confirmation)


def _inflate(data: bytes, max_bytes: int) -> bytes:
    stream = zlib.decompressobj()
    try:
        inflated = stream.decompress(data, max_bytes + 1)
    except zlib.error:
        raise _InvalidError("not deflated") from None
    if len(inflated) > max_bytes:
        raise _InvalidError("too long")
    if not stream.eof or stream.unused_data:
        raise _InvalidError("not deflated")
    return inflated


def parse_json(data: bytes) -> Any:
    """Return the JSON value of a text of another host; raises ValueError, also if it would take too much memory."""
    if len(data) > _SHORT and count_values(data) > _MAX_VALUES:
        raise _InvalidError("too many values")
    try:
        return json.loads(data.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise _InvalidError("not JSON") from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")


def _confirmation(value: Any) -> Confirmation | None:
    """Return a list of epoch, number and tag as a confirmation; None if it is something else."""
    if not isinstance(value, list) or len(value) < 3 or not all(is_integer(one, 0, _LARGEST) for one in value[:3]):
        return None
    return Confirmation(*value[:3])
