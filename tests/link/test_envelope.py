"""Envelopes: frames arrive as they were sent, in parts or not; whatever else comes is counted and harms nothing."""

from __future__ import annotations

import json
import random
import tracemalloc
import zlib
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raven.exchange.values import Batch, Confirmation, Frame, Incoming
from raven.link import envelope
from raven.link.envelope import PART, ROOM, ZIP, Envelope, Mailroom, Parcel, Received, Sign

OK = Confirmation(3, 40, 5)
# No deflate makes it shorter.
NOISE = random.Random(1).randbytes(6000).hex()


def batch(*bodies: str, epoch: int = 7, first: int = 1) -> Batch:
    frames = [
        Frame(number, 100 + number, json.dumps({"n": number, "k": 100 + number, "b": body}))
        for number, body in enumerate(bodies, first)
    ]
    return Batch(epoch, 99, frames)


def content(sent: Batch, ok: Confirmation | None = OK) -> Envelope:
    return Envelope(Incoming(sent.epoch, sent.tag_before, [json.loads(frame.text) for frame in sent.frames]), ok)


def parts(sent: Batch, room: int = 500) -> list[Parcel]:
    parcels = envelope.encode(sent, OK, ROOM + room)
    assert len(parcels) > 2
    return parcels


def add(room: Mailroom[Any], parcel: Parcel, handle: Any = None, *, sender: str = "a", now: float = 0.0) -> Any:
    return room.add(sender, parcel.data, parcel.headers, handle, now)


def deflated(data: bytes) -> Parcel:
    return Parcel(zlib.compress(data), {ZIP: "1"})


@settings(max_examples=100, deadline=None, database=None)
@given(
    st.lists(st.text(max_size=400), max_size=40),
    st.none() | st.builds(Confirmation, *[st.integers(0, 1 << 60)] * 3),
    st.integers(1, 3000),
    st.randoms(use_true_random=False),
)
def test_an_envelope_arrives_as_it_was_sent_whatever_the_order_of_its_parts(
    bodies: list[str], ok: Confirmation | None, room: int, shuffled: random.Random
) -> None:
    sent = batch(*bodies)
    parcels = envelope.encode(sent, ok, ROOM + room)
    assert all(len(parcel.data) <= room for parcel in parcels)
    shuffled.shuffle(parcels)

    mailroom: Mailroom[int] = Mailroom()
    results = [add(mailroom, parcel, handle) for handle, parcel in enumerate(parcels)]

    assert results[:-1] == [None] * (len(parcels) - 1)
    assert results[-1][:2] == (content(sent, ok), list(range(len(parcels))))
    # Its size is that of its text, which stands in one part if the server takes any length.
    (whole,) = envelope.encode(sent, ok, 1 << 30)
    assert results[-1].size == len(zlib.decompress(whole.data) if whole.headers else whole.data)
    assert (mailroom.dropped, mailroom.take_abandoned(1e9)) == (Counter(), [])


def test_an_envelope_over_two_kilobytes_is_deflated() -> None:
    short, long, noise = batch("x" * 1000), batch("x" * 3000), batch(NOISE[:1500], NOISE[1500:9000])
    (plain,), (zipped,) = envelope.encode(short, None, 1 << 20), envelope.encode(long, None, 1 << 20)

    assert (plain.headers, json.loads(plain.data)["f"]) == ({}, content(short).incoming.frames)
    assert zipped.headers == {ZIP: "1"}
    assert len(zipped.data) < 300
    for one in (short, long, noise):
        (parcel,) = envelope.encode(one, OK, 1 << 20)
        assert add(Mailroom(), parcel).envelope == content(one)


def test_parts_of_several_senders_and_envelopes_do_not_mix() -> None:
    first, second = batch(NOISE[:3000]), batch(NOISE[3000:6000])
    room: Mailroom[tuple[str, int]] = Mailroom()
    streams = [("a", first), ("a", second), ("b", first)]
    parcels = [(sender, number, parts(sent)) for number, (sender, sent) in enumerate(streams)]

    whole = {}
    for index in range(max(len(some) for *_, some in parcels)):
        for sender, number, some in parcels:
            if index < len(some):
                received = add(room, some[index], (number, index), sender=sender)
                if received:
                    whole[number] = received

    for number, (_, sent) in enumerate(streams):
        assert whole[number].envelope == content(sent)
        assert {handle[0] for handle in whole[number].handles} == {number}
    assert room.take_abandoned(1e9) == []


def test_a_part_that_comes_twice_counts_once_and_all_its_messages_are_acked() -> None:
    some = parts(batch(NOISE[:3000]))
    room: Mailroom[int] = Mailroom()
    for handle in (1, 2, 3):
        assert add(room, some[0], handle) is None
    for parcel in some[1:-1]:
        add(room, parcel, 4)
    received = add(room, some[-1], 5)

    assert received.envelope == content(batch(NOISE[:3000]))
    assert Counter(received.handles) == {1: 1, 2: 1, 3: 1, 4: len(some) - 2, 5: 1}


def test_copies_of_one_part_without_end_are_handed_back_at_once() -> None:
    some = parts(batch(NOISE[:3000]))
    room: Mailroom[int] = Mailroom()
    for handle in range(4 * len(some) + 10):
        assert add(room, some[0], handle, now=handle) is None

    assert len(room.take_abandoned(30.0)) == 10
    assert room.dropped == {"a part of many copies": 10}
    assert len(room.take_abandoned(61.0)) == 4 * len(some)  # copies are no progress


@pytest.mark.parametrize(
    ("parcel", "reason"),
    [
        (Parcel(b"", {}), "not JSON"),
        (Parcel(b"\xff\xfe", {}), "not JSON"),
        (Parcel(b"{", {}), "not JSON"),
        (Parcel(b'{"e":NaN,"k":1,"f":[]}', {}), "not JSON"),
        (Parcel(b'{"e":' + b"9" * 5000 + b',"k":1,"f":[]}', {}), "not JSON"),
        (Parcel(b'{"f":' + b"[" * 20_000 + b"]" * 20_000 + b"}", {}), "not JSON"),
        (Parcel(b"[]", {}), "malformed"),
        (Parcel(b'{"e":1,"k":1}', {}), "malformed"),
        (Parcel(b'{"e":1,"k":1,"f":{}}', {}), "malformed"),
        *[
            (Parcel(b'{"e":1,"k":1,"f":[],"ok":%s}' % ok, {}), "malformed")
            for ok in (b"5", b"[]", b"[1,2]", b'[1,2,"3"]', b"[1,2,true]", b"[1,2,-3]", b"[1,2,9223372036854775808]")
        ],
        (Parcel(b'{"e":1,"k":1,"f":[]}', {ZIP: "1"}), "not deflated"),
        (Parcel(zlib.compress(b'{"e":1,"k":1,"f":[]}')[:-1], {ZIP: "1"}), "not deflated"),
        (Parcel(zlib.compress(b'{"e":1,"k":1,"f":[]}') + b"x", {ZIP: "1"}), "not deflated"),
        (deflated(b'{"f":["' + b"x" * 100_000 + b'"]}'), "too long"),
        (Parcel(b'{"f":["' + b"x" * 100_000 + b'"]}', {}), "too long"),
        *[
            (Parcel(b"1234", {PART: place}), "a part without its place")
            for place in (
                "", "1/2", "0/2 8 0123456789abcdef", "3/2 8 0123456789abcdef", "1/1 4 0123456789abcdef",
                "1/2 8 0123456789abcde", "1/2 8 0123456789ABCDEF", "x/2 8 0123456789abcdef", "1/2 0 0123456789abcdef",
                "1/2 -8 0123456789abcdef", "1/7 10 0123456789abcdef", "1/9 8 0123456789abcdef",
                "1/9999999 9999999 0123456789abcdef", "1/2 9999999999 0123456789abcdef", " 1/2 8 0123456789abcdef",
                "\u0661/2 8 0123456789abcdef", 5,
            )
        ],
        (Parcel(b"12345", {PART: "1/2 8 0123456789abcdef"}), "a part of another size"),
        (Parcel(b"1234", {PART: "2/2 7 0123456789abcdef"}), "a part of another size"),
        (Parcel(b"1" * 40_000, {PART: "1/2 80000 0123456789abcdef"}), "too long"),
    ],
)  # fmt: skip
def test_a_message_that_is_no_envelope_is_counted_and_acked(parcel: Parcel, reason: str) -> None:
    room: Mailroom[str] = Mailroom(max_bytes=50_000)

    assert add(room, parcel, "handle") == Received(None, ["handle"])
    assert room.dropped == {reason: 1}
    (good,) = envelope.encode(batch("a"), None, 1 << 20)
    assert add(room, good).envelope == content(batch("a"), None)


@settings(max_examples=300, deadline=None, database=None)
@given(st.binary(max_size=200), st.none() | st.dictionaries(st.sampled_from([ZIP, PART]), st.text(max_size=40)))
def test_no_bytes_and_no_headers_raise_an_error(data: bytes, headers: dict[str, str] | None) -> None:
    room: Mailroom[int] = Mailroom()

    received = room.add("a", data, headers, 1, 0.0)
    assert received is None or received.envelope is None or headers is None
    assert envelope.decode_sign(data) is None


def test_parts_that_do_not_fit_together_are_dropped_with_all_their_messages() -> None:
    some = parts(batch(NOISE[:3000]))
    room: Mailroom[int] = Mailroom()
    spoilt = Parcel(bytes(len(some[1].data)), some[1].headers)

    results = [add(room, parcel, handle) for handle, parcel in enumerate([some[0], spoilt, *some[2:]])]

    assert results[-1] == Received(None, list(range(len(some))))
    assert room.dropped == {"parts that do not fit": 1}


@pytest.mark.parametrize(
    ("content", "reason", "max_bytes"),
    [
        (bytes(envelope.MAX_BYTES), "too long", 1 << 20),
        (b'{"e":1,"k":1,"f":[' + b"[]," * 4_000_000 + b"[]]}", "too many values", 16 << 20),
    ],
    ids=["zeros", "empty lists"],
)
def test_a_bomb_takes_little_memory(content: bytes, reason: str, max_bytes: int) -> None:
    bomb = deflated(content)
    room: Mailroom[None] = Mailroom(max_bytes)

    tracemalloc.start()
    received = add(room, bomb)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(bomb.data) < 100_000
    assert (received.envelope, room.dropped) == (None, {reason: 1})
    assert peak < 3 * max_bytes


def test_the_strings_of_a_large_envelope_do_not_count_as_values() -> None:
    body = json.dumps([[]] * 600_000)
    sent = batch(body)

    room: Mailroom[None] = Mailroom()
    (received,) = [one for parcel in envelope.encode(sent, OK, 1 << 20) if (one := add(room, parcel))]
    assert received.envelope == content(sent)


def test_parts_that_never_become_whole_are_given_up_after_a_time_and_their_messages_are_acked() -> None:
    some = parts(batch(NOISE[:3000]))
    room: Mailroom[int] = Mailroom()
    for handle, parcel in enumerate(some[:3]):
        add(room, parcel, handle, now=50.0 * handle)

    assert room.take_abandoned(159.0) == []
    assert room.take_abandoned(161.0) == [0, 1, 2]
    assert room.dropped == {"parts missing": 1}
    assert room.take_abandoned(161.0) == []


def test_parts_that_come_too_slowly_are_given_up_after_an_hour() -> None:
    sent = batch(NOISE)
    room: Mailroom[int] = Mailroom()
    some = parts(sent, 80)
    assert len(some) > 75
    for handle, parcel in enumerate(some[:75]):
        assert room.take_abandoned(50.0 * handle) == ([] if handle < 73 else list(range(73)) if handle == 73 else [])
        add(room, parcel, handle, now=50.0 * handle)


def test_one_sender_has_few_unfinished_envelopes_and_the_oldest_makes_room() -> None:
    room: Mailroom[int] = Mailroom()
    for handle in range(6):
        add(room, parts(batch(NOISE[handle * 2000 : handle * 2000 + 2000]))[0], handle, now=float(handle))
    add(room, parts(batch(NOISE))[0], 9, sender="b")

    assert room.take_abandoned(6.0) == [0, 1]
    assert room.dropped == {"too many unfinished": 2}


def test_all_unfinished_envelopes_have_a_bound_and_the_largest_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(envelope, "_MAX_OPEN_BYTES", 18_000)
    room: Mailroom[str] = Mailroom()
    large, small = parts(batch(NOISE), 3000), parts(batch(NOISE[:3000]), 700)
    assert add(room, large[0], "large") is None
    for sender in "bcdefghijk":
        assert add(room, small[0], sender, sender=sender) is None
    assert room.take_abandoned(0.0) == ["large"]

    rest = [add(room, parcel, "b", sender="b") for parcel in small[1:]]
    assert rest[-1].envelope == content(batch(NOISE[:3000]))
    for sender in "lmnopqrstu":
        add(room, small[0], sender, sender=sender)
    given_up, kept = room.take_abandoned(0.0), room.take_abandoned(61.0)
    assert sorted(given_up + kept) == list("cdefghijklmnopqrstu")
    assert 9 <= len(kept) <= 11


def test_a_sign_arrives_as_it_was_sent() -> None:
    for confirmation in (OK, Confirmation(0, 0, 0), Confirmation(*[(1 << 62) - 1] * 3)):
        for is_behind in (False, True):
            assert envelope.decode_sign(envelope.encode_sign(confirmation, is_behind)) == Sign(confirmation, is_behind)


@pytest.mark.parametrize(
    "data", [b"", b"5", b"[1,2,3]", b"{}", b'{"e":1,"n":2}', b'{"e":1,"n":2,"k":-1}', b'{"e":1,"n":2.5,"k":1}', b"\xff"]
)
def test_a_malformed_sign_is_none(data: bytes) -> None:
    assert envelope.decode_sign(data) is None
