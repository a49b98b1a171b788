"""Inserts: many messages in one transaction have the same rows as one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from raven import BusClient
from raven.host.bus import HostedBus

Connect = Callable[..., BusClient]
Hosted = Callable[..., HostedBus]

MIXED: list[dict[str, Any]] = [
    {"to": "a:s", "type": "one", "body": {"n": 1}},
    {"to": ["a:s", "b:s"], "type": "two", "body": [2], "delay_s": 60, "urgency": "fyi"},
    {"to": "b:s", "type": "once", "body": "first", "dedup_key": "k"},
    {"to": "b:s", "type": "once", "body": "second", "dedup_key": "k"},
    {"to": "*:s", "type": "all", "expires_in_s": 60, "tags": ["t"]},
    {"to": "b:s", "type": "last", "max_attempts": 1, "report": "undelivered", "task_id": 7},
]


@pytest.fixture
def boss(hosted: Hosted) -> HostedBus:
    bus = hosted("boss:s")
    bus.register("a:s", "b:s")
    return bus


def test_a_mixed_batch_is_stored_as_its_messages_alone_are(tmp_path: Any, boss: BusClient, db: str) -> None:
    with BusClient.at("boss:s", str(tmp_path / "other.db")) as other:
        other.register("a:s", "b:s")
        alone = [other.send(**message) for message in MIXED]
        their_recipients = [other.recipients(msg.id) for msg in alone]

    together = boss.send_many(MIXED)

    def essence(messages: list[Any]) -> list[dict[str, Any]]:
        times = ("created_at", "expires_at")
        return [{name: value for name, value in msg.as_dict().items() if name not in times} for msg in messages]

    assert essence(together) == essence(alone)
    assert [boss.recipients(msg.id) for msg in together] == their_recipients
    assert [msg.id for msg in together] == [1, 2, 3, 3, 4, 5]
    assert [msg.duplicate for msg in together] == [False, False, False, True, False, False]


def test_a_body_that_is_changed_after_the_send_leaves_the_message_alone(hosted: Hosted, boss: BusClient) -> None:
    flat, deep = {"n": 1}, {"n": [1]}
    prepared = boss.prepare("a:s", "note", flat)
    sent = [boss.send("a:s", "note", flat), boss.send("a:s", "note", deep)]

    flat["n"] = 2
    deep["n"].append(2)

    assert [msg.body for msg in [*sent, *boss.send_prepared([prepared])]] == [{"n": 1}, {"n": [1]}, {"n": 1}]
    assert [msg.body for msg in hosted("a:s").inbox()] == [{"n": 1}, {"n": [1]}, {"n": 1}]
