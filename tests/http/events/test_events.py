"""The event stream: which events come, in which order, to which viewer."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from typing import Any

import pytest

from raven.client import BusClient
from raven_http.events import viewer
from scripts.harness.deadline import wait_until
from tests.event_stream import Event, EventStream
from tests.http.events.conftest import MAIL
from tests.http_bridge import BridgeHere
from tests.support import Foreign, bells, is_watched

Connect = Callable[..., BusClient]
Bridge = Callable[..., BridgeHere]
Open = Callable[..., EventStream]


def brief(event: Event) -> tuple[Any, ...]:
    """Return the parts of an event that tell it from others."""
    data = event.data
    if event.name == "receipt":
        return "receipt", data["id"], data["recipient"], data["state"], data["attempts"]
    return event.name, data.get("id"), data.get("type")


def test_a_message_and_each_change_of_it_come_in_order(open_stream: Open, connect: Connect) -> None:
    stream = open_stream()
    boss, worker = connect("boss:s"), connect("worker:s")

    sent = boss.send(["worker:s", "other:s"], "job", {"n": 1}, max_attempts=2)
    first = stream.take(1)[0]
    worker.claim()
    worker.nack(sent.id, reason="later")
    worker.claim()
    worker.nack(sent.id)
    worker.requeue(sent.id)
    worker.claim()
    worker.ack(sent.id)
    events = stream.take(7)

    assert first.name == "message"
    recipients = first.data.pop("recipients")
    assert first.data == boss.read(sent.id).as_dict() | {"state": "sent", "status": "sent"} | {
        name: first.data[name] for name in ("attempts", "delivered_at", "acked_at", "finished_at", "reason")
    }
    assert [(one["recipient"], one["state"]) for one in recipients] == [("worker:s", "sent"), ("other:s", "sent")]
    assert [(*brief(one)[3:], one.data["reason"]) for one in events] == [
        ("delivered", 1, None),
        ("delivered", 1, "later"),
        ("delivered", 2, "later"),
        ("dead", 2, "attempt 2 of 2 was nacked"),
        ("sent", 0, "attempt 2 of 2 was nacked"),
        ("delivered", 1, "attempt 2 of 2 was nacked"),
        ("acked", 1, "attempt 2 of 2 was nacked"),
    ]
    assert {name: events[-1].data[name] for name in worker.receipts(sent.id)[0].as_dict()} == (
        worker.receipts(sent.id)[0].as_dict()
    )
    positions = [str(one.id).partition("-")[0] for one in events]
    assert positions == [f"{sent.id}.{change}" for change in range(1, 8)]


QUERIES = {
    "address=worker:s": {1, 3, 4},
    "address=other:t&address=boss:s": {1, 2, 3, 4, 5},
    "session=t": {2, 3, 4, 5},
    "session=u": {5},
    "type=job": {1, 3},
    "type=job&type=hint": {1, 2, 3},
    "type=job&address=other:t": {3},
    "address=absent:s": set(),
    "type=jo": set(),
}


def test_filters_choose_messages_and_their_receipts(open_stream: Open, connect: Connect) -> None:
    follower = open_stream()
    begin = follower.wait_for_id()
    live = {query: open_stream(f"{MAIL}&{query}") for query in QUERIES}
    boss, worker, other, far = (connect(address) for address in ("boss:s", "worker:s", "other:t", "far:u"))
    boss.send("worker:s", "job")
    boss.send("other:t", "hint")
    boss.send(["worker:s", "other:t"], "job")
    worker.send("*:t", "note")
    other.send("far:u", "note")
    for client in (worker, other, far):
        client.inbox()
    everything = follower.take(11)
    resumed = {query: open_stream(f"{MAIL}&{query}", f"Last-Event-ID: {begin}", waits=False) for query in QUERIES}
    expected = {
        query: sorted(brief(one) for one in everything if one.data["id"] in ids) for query, ids in QUERIES.items()
    }
    for query, events in expected.items():
        for stream in (live[query], resumed[query]):
            assert sorted(map(brief, stream.take(len(events)))) == events, query
    # The next event of each stream: whatever a filter lets through by mistake stands before it.
    for type in ("job", "hint", "jo"):
        boss.send(["worker:s", "other:t", "far:u", "absent:s"], type)
    for query in QUERIES:
        for stream in (live[query], resumed[query]):
            assert stream.take(1)[0].data["id"] > 5, query


@pytest.mark.parametrize("start", ["from=3", "last=3"])
def test_a_stream_begins_with_an_older_message_if_it_is_told_to(
    open_stream: Open, connect: Connect, start: str
) -> None:
    boss = connect("boss:s")
    for number in range(5):
        boss.send("worker:s", "job", number)
    connect("worker:s").inbox()

    stream = open_stream(f"{MAIL}&{start}", waits=False)
    seen = stream.take(3)
    boss.send("worker:s", "job", 5)

    assert [brief(one)[:2] for one in [*seen, *stream.take(1)]] == [("message", id) for id in (3, 4, 5, 6)]
    assert [one.data["recipients"][0]["state"] for one in seen] == ["delivered"] * 3


def test_long_bodies_come_cut_only_to_viewers_that_ask_for_it(open_stream: Open, connect: Connect) -> None:
    long, huge = "ä" * 50, "x" * 300_000  # the ring keeps no text of the second
    streams = [open_stream(f"{MAIL}{preview}") for preview in ("", "&preview=10", "&preview=52")]
    sender = connect("boss:s")
    for body in (long, huge, {"n": 1}):
        sender.send("worker:s", "job", body)

    whole, cut, fitting = ([one.data for one in stream.take(3)] for stream in streams)

    assert [one["body"] for one in whole] == [long, huge, {"n": 1}]
    assert [one["body"] for one in cut] == [None, None, {"n": 1}]
    assert [one.get("preview") for one in cut] == ['"' + "ä" * 9, '"' + "x" * 9, None]
    assert [one.get("truncated") for one in cut] == [True, True, None]
    assert [one["body"] for one in fitting] == [long, None, {"n": 1}]


def test_peers_and_statistics_come_first_and_after_each_change(open_stream: Open, connect: Connect) -> None:
    worker = connect("worker:s")
    boss = connect("boss:s")
    boss.send("worker:s", "job")
    everything = open_stream("?kinds=peer,stats", waits=False)
    narrow = open_stream("?kinds=peer&address=worker:s", waits=False)

    first = everything.take(3)
    assert {one.data["address"] for one in first if one.name == "peer"} == {"worker:s", "boss:s"}
    [stats] = [one.data for one in first if one.name == "stats"]
    assert (stats["ready"], stats["peers"]) == (1, 2)
    assert [(one.data["pending"], one.data["ready"]) for one in narrow.take(1)] == [(1, 1)]
    worker.claim()
    later = narrow.take(1)[0].data
    assert (later["address"], later["pending"], later["ready"], later["in_flight"]) == ("worker:s", 1, 0, 1)
    boss.forget("boss:s")
    gone = everything.until(lambda event: event.data.get("gone"))
    assert gone[-1].data == {"address": "boss:s", "gone": True}
    assert everything.until(lambda event: event.name == "stats" and event.data["in_flight"] == 1)


MINE = {("message", 3), ("receipt", 2)}


def test_a_bound_bridge_shows_only_the_mail_of_its_addresses(open_stream: Open, connect: Connect) -> None:
    stream = open_stream("", bound=("own:s",))
    own, other, boss = connect("own:s"), connect("other:s"), connect("boss:s")
    boss.send("other:s", "secret")
    boss.send(["other:s", "own:s"], "shared")
    other.inbox()
    own.inbox()
    own.send("other:s", "mine")

    seen = set()
    events = stream.until(lambda event: seen.add((event.name, event.data.get("id"))) or len(seen & MINE) == len(MINE))

    assert "secret" not in str(events)
    mail = [one for one in events if one.name in ("message", "receipt")]
    assert sorted(map(brief, mail)) == [
        ("message", 2, "shared"),
        ("message", 3, "mine"),
        ("receipt", 2, "own:s", "delivered", 0),
    ]
    assert [one["recipient"] for one in mail[0].data["recipients"]] == ["own:s"]
    others = {one.data["pending"] for one in events if one.name == "peer" and one.data["address"] != "own:s"}
    assert others <= {0}


def test_a_bus_without_a_viewer_has_no_log_and_a_viewer_is_no_watch(
    bridge: Bridge, connect: Connect, db: str, foreign: Foreign
) -> None:
    served = bridge()
    connect("boss:s").send("worker:s", "job")
    logs = "SELECT count(*) FROM sqlite_schema WHERE name = 'delivery_changes'"
    assert foreign.value(logs) == 0

    with EventStream(served.port) as stream:
        stream.wait_for_id()
        assert foreign.value(logs) == 1
        assert not is_watched(db)
        assert bells(db)[0] == "*"
        foreign.send("worker:s", "by a program that rings no doorbell")
        assert stream.until(lambda event: event.name == "message")
    wait_until(lambda: bells(db) == [], "the doorbell to go with the last viewer")


def test_a_bus_that_cannot_log_changes_gives_messages_and_says_so(
    open_stream: Open, connect: Connect, foreign: Foreign
) -> None:
    connect("boss:s")
    foreign.execute("CREATE TABLE delivery_changes (theirs)")
    stream = open_stream()

    connect("boss:s").send("worker:s", "job")
    connect("worker:s").inbox()
    connect("boss:s").send("worker:s", "again")

    notice, *events = stream.take(3)
    assert notice.name == "notice"
    assert "there are no receipts" in notice.data["reason"]
    assert [(brief(one), one.id) for one in events] == [
        (("message", 1, "job"), "1.0"),
        (("message", 2, "again"), "2.0"),
    ]


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("from=x", "from 'x'"),
        ("from=-1", "from '-1'"),
        ("from=1&from=2", "from is given 2 times"),
        ("from=1&last_event_id=1", "from and last_event_id exclude each other"),
        ("from=1&last=1", "from and last exclude each other"),
        ("last=x", "last 'x'"),
        ("from=99999999999999999999", "from '99999999999999999999'"),
        ("last_event_id=", "last_event_id ''"),
        ("last_event_id=1.x", "last_event_id '1.x'"),
        ("last_event_id=9999999999999999999", "last_event_id '9999999999999999999'"),
        ("address=worker", "address 'worker' has no ':'"),
        ("address=*:s", "is a broadcast pattern"),
        ("address=", "address ''"),
        ("session=", "session ''"),
        ("kinds=message,all", "kind 'all' is not known: use message, receipt, peer, stats, server"),
        ("kinds=", "kind ''"),
        ("preview=-1", "preview '-1'"),
        ("preview=1000001", "preview '1000001'"),
        ("role=a:b", "the parameter 'role' is not known: use from,"),
        ("&".join(["type=t"] * 101), "type is given 101 times, over the limit of 100"),
    ],
)
def test_a_wrong_parameter_is_named_with_its_remedy(bridge: Bridge, query: str, named: str) -> None:
    answer = bridge().get(f"/events?{query}")

    assert answer.status_code == 400
    assert answer.json()["error"] == "bad_request"
    assert named in answer.json()["detail"]
    assert "\n" not in answer.text.strip()


@pytest.mark.parametrize(
    ("id", "reason"),
    [
        ("garbage", "last_event_id 'garbage' is not the id of an event"),
        ("7.0", "of another file"),
        ("1.9", "of another file"),
        ("1.0-00000000", "of another file, or of before a gap"),
    ],
)
def test_a_browser_with_an_impossible_position_is_told_to_reload_and_goes_on_from_now(
    open_stream: Open, connect: Connect, id: str, reason: str
) -> None:
    connect("boss:s").send("worker:s", "old")
    stream = open_stream(MAIL, f"Last-Event-ID: {id}")
    connect("boss:s").send("worker:s", "new")

    reset, message = stream.take(2)

    assert (reset.name, brief(message)) == ("reset", ("message", 2, "new"))
    assert reason in reset.data["reason"]


def test_a_position_older_than_the_log_is_no_position(open_stream: Open, connect: Connect, foreign: Foreign) -> None:
    first = open_stream()
    connect("boss:s").send("worker:s", "old")
    connect("worker:s").claim()
    old = first.take(2)[0].id
    foreign.execute("INSERT INTO delivery_changes SELECT 200000, id, 0, 0, 0, 0, 0, 0, 0, '' FROM deliveries")
    foreign.execute("DELETE FROM delivery_changes WHERE id < 100000")

    stream = open_stream(MAIL, f"Last-Event-ID: {old}", waits=False)

    assert "older than the change log" in stream.take(1)[0].data["reason"]


def test_a_replaced_file_resets_each_stream_and_is_shown_from_then_on(
    open_stream: Open, connect: Connect, db: str
) -> None:
    connect("boss:s").send("worker:s", "old")
    stream = open_stream()
    with BusClient.at("boss:s", f"{db}.new") as other:
        for number in range(3):
            other.send("worker:s", "elsewhere", number)
    os.replace(f"{db}.new", db)

    reset = stream.take(1)[0]
    stream.wait_for_id()
    with BusClient.at("boss:s", db) as boss:
        boss.send("worker:s", "new")
        assert brief(stream.take(1)[0]) == ("message", 4, "new")
    assert reset.name == "reset"
    assert "replaced" in reset.data["reason"]
    os.unlink(db)
    assert stream.take(1)[0].data["reason"] == "the bus was replaced, or could not be read for a moment"
    shutil.rmtree(f"{db}-bells", ignore_errors=True)
    with BusClient.at("boss:s", db) as boss:
        boss.send("worker:s", "third")
        stream.wait_for_id()
        boss.send("worker:s", "fourth")
        stream.until(lambda event: event.data.get("type") == "fourth")


def test_a_silent_stream_sends_heartbeats_with_the_position(
    open_stream: Open, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(viewer, "HEARTBEAT_S", 2.0)
    stream = open_stream(f"{MAIL}&type=rare")
    begin = stream.wait_for_id()
    connect("boss:s").send("worker:s", "common")

    wait_until(lambda: stream.receive() and stream.text.count(b": hb\n") > 1, "two heartbeats", every_s=0)
    connect("boss:s").send("worker:s", "rare")
    stream.take(1)

    assert begin.startswith("0.0-")
    assert stream.comments.count("hb") >= 2
    assert stream.id == f"2.0-{begin[4:]}"


def test_only_so_many_streams_are_open_at_once(bridge: Bridge) -> None:
    served = bridge(max_streams=2)
    streams = [EventStream(served.port) for _ in range(2)]

    refused = served.get("/events")
    streams.pop().close()
    wait_until(lambda: EventStream(served.port).status == 200, "a free place")

    assert refused.status_code == 429
    assert refused.headers["retry-after"]
    assert refused.json() == {
        "error": "limit",
        "detail": "2 event streams are open, which is the limit: try again later",
    }
    assert served.get("/health").json()["status"] == "ok"
    for stream in streams:
        stream.close()


def test_head_tells_the_type_and_a_client_of_http_1_0_gets_the_stream(bridge: Bridge, connect: Connect) -> None:
    served = bridge()

    head = served.request("HEAD", "/events")
    assert (head.status_code, head.headers["content-type"], head.content) == (
        200, "text/event-stream; charset=utf-8", b"",
    )  # fmt: skip
    assert served.post("/events", json={}).status_code == 405
    with EventStream(served.port, MAIL, version="1.0") as stream:
        stream.wait_for_id()
        connect("boss:s").send("worker:s", "job")
        assert brief(stream.take(1)[0]) == ("message", 1, "job")
