"""SQL is an interface: one INSERT INTO outbox by any SQLite client is a send."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from raven import BusClient
from scripts.harness.deadline import Limit
from tests.loop import taken
from tests.support import Foreign, needs

Connect = Callable[..., BusClient]


def test_the_four_columns_of_the_readme_are_enough(connect: Connect, foreign: Foreign) -> None:
    bus = connect("worker:s")

    foreign.execute(
        "INSERT INTO outbox(sender, recipient, type, body) VALUES ('shell:s', 'worker:s', 'note', '{\"x\": [1, null]}')"
    )

    (message,) = bus.inbox()
    assert (message.sender, message.recipient, message.to, message.type) == ("shell:s", "worker:s", "worker:s", "note")
    assert (message.body, message.urgency, message.tags, message.attempts) == ({"x": [1, None]}, "prompt", (), 0)
    assert abs(message.created_at - datetime.now(UTC)) < timedelta(seconds=30)


def test_every_other_column_arrives_too(connect: Connect, foreign: Foreign) -> None:
    bus = connect("worker:s")

    foreign.send(
        "worker:s", "x", urgency="blocking", tags='["a","b"]', correlation_id="c", reply_to=7, task_id="t",
        dedup_key="k", expires_in_s=1000,
    )  # fmt: skip

    (message,) = bus.inbox()
    assert (message.urgency, message.tags, message.correlation_id) == ("blocking", ("a", "b"), "c")
    assert (message.reply_to, message.task_id, message.dedup_key) == (7, "t", "k")
    assert message.expires_at == message.created_at + timedelta(seconds=1000)


def test_external_and_own_messages_have_one_order(connect: Connect, foreign: Foreign) -> None:
    bus = connect("worker:s")

    for number in range(3):
        bus.send("worker:s", "note", f"own {number}")
        foreign.send("worker:s", f"foreign {number}")

    assert [msg.id for msg in bus.inbox()] == [1, 2, 3, 4, 5, 6]
    assert [msg.body for msg in bus.inbox()][:2] == ["own 0", "foreign 0"]


@pytest.mark.parametrize(
    ("pattern", "reached"),
    [("*:s", ["a:s", "b:s"]), ("a:*", ["a:s", "a:t"]), ("*:*", ["a:s", "a:t", "b:s"]), ("stranger:*", [])],
)
def test_a_pattern_reaches_the_registered_and_never_the_sender(
    connect: Connect, foreign: Foreign, pattern: str, reached: list[str]
) -> None:
    bus = connect("stranger:s")
    bus.register("a:s", "b:s", "a:t")

    foreign.send(pattern, "all", sender="stranger:s")

    assert bus.recipients(1) == reached
    assert bus.read(1).to == pattern


def test_a_glob_character_in_a_plain_address_is_just_a_character(connect: Connect, foreign: Foreign) -> None:
    bus = connect("w[a]?:s")

    foreign.send("w[a]?:s", "x")

    assert [msg.body for msg in bus.inbox()] == ["x"]


def test_an_expiring_message_is_shown_until_it_expires(connect: Connect, foreign: Foreign) -> None:
    bus = connect("worker:s")
    foreign.send("worker:s", "brief", expires_in_s=0.001)
    foreign.send("worker:s", "lasting", expires_in_s=1000)

    assert [msg.body for msg in taken(bus)] == ["lasting"]
    assert bus.read(1).state == "expired"


def test_a_delayed_message_arrives_when_its_delay_ends(connect: Connect, foreign: Foreign) -> None:
    bus = connect("worker:s")
    foreign.send("worker:s", "later", delay_s=0.4)
    assert bus.inbox() == []
    began = time.time()

    message = next(iter(bus.listen(poll_interval_s=60)))

    assert message.body == "later"
    assert time.time() - message.created_at.timestamp() >= 0.39
    assert time.time() - began < Limit(10)


def test_a_dedup_key_of_one_sender_stores_one_message_across_external_and_own_sends(
    connect: Connect, foreign: Foreign
) -> None:
    bus = connect("worker:s")

    for number in range(3):
        foreign.send("worker:s", number, dedup_key="once")
    foreign.send("worker:s", "other sender", dedup_key="once", sender="other:abroad")
    bus.send("worker:s", "note", "own", dedup_key="once")
    foreign.send("worker:s", "again", dedup_key="once", sender="worker:s")

    assert [msg.body for msg in bus.inbox()] == [0, "other sender", "own"]
    assert foreign.value("SELECT count(*) FROM deliveries") == 3


def test_many_rows_in_one_insert_are_many_messages(connect: Connect, foreign: Foreign) -> None:
    bus = connect("worker:s")

    foreign.execute(
        "INSERT INTO outbox(sender, recipient, type, body)"
        " SELECT 'shell:s', 'worker:s', 'n', value FROM json_each('[1,2,3]')"
    )

    assert [msg.body for msg in bus.inbox()] == [1, 2, 3]


def test_the_outbox_shows_sent_messages_in_the_terms_of_send(connect: Connect, foreign: Foreign) -> None:
    bus = connect("worker:s")
    bus.send("a:s", "plan", {"step": 1}, urgency="fyi", tags=["x"], task_id="t")

    assert foreign.execute("SELECT sender, recipient, type, body, urgency, tags, task_id FROM outbox") == [
        ["worker:s", "a:s", "plan", '{"step":1}', "fyi", '["x"]', "t"]
    ]


def test_the_sqlite3_program_can_send_and_query(db: str, connect: Connect) -> None:
    needs("sqlite3")
    program = "sqlite3"
    bus = connect("worker:s")
    sql = (
        "INSERT INTO outbox(sender, recipient, type, body) VALUES ('shell:s', 'worker:s', 'note', json_quote('hello'));"
    )

    subprocess.run([program, db, sql], check=True, timeout=20)
    shown = subprocess.run([program, "-json", db, "SELECT * FROM pending"], check=True, capture_output=True, timeout=20)

    assert [msg.body for msg in bus.inbox()] == ["hello"]
    assert [row["body"] for row in json.loads(shown.stdout)] == ['"hello"']
    bad = subprocess.run([program, db, sql.replace("worker:s", "worker")], check=False, capture_output=True, timeout=20)
    assert bad.returncode != 0
    assert b"raven: recipient must be <role>:<session>" in bad.stderr
