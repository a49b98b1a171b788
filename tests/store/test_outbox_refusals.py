"""The outbox refuses bad values with a readable error; no accepted value can harm a reader."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import apsw
import pytest

from raven import BusClient, RavenError
from tests.loop import taken
from tests.support import Foreign, ForeignError

Connect = Callable[..., BusClient]

SENDER = "raven: sender must be <role>:<session>, for example worker:swarm-1"
RECIPIENT = "raven: recipient must be <role>:<session>; either part may be * for all"
GOOD = {"sender": "'shell:s'", "recipient": "'worker:s'", "type": "'note'", "body": "'1'"}
BAD_ADDRESSES = [
    "NULL", "''", "'worker'", "':s'", "'worker:'", "':'", "'a:b:c'", "' worker:s'", "'worker:s '", "'worker :s'",
    "'worker: s'", "'wor*:s'", "'worker:s*'", "'**:s'", "'a' || char(9) || 'b:s'", "'a:b' || char(10)",
    "'a:b' || char(127)", "'a:' || char(133) || 'b'", "'w:' || replace(hex(zeroblob(300)), '00', 'xx')",
    # Further addresses that Python's parser refuses: see tests/model/test_address.py.
    "'worker:s' || char(160)", "char(12288) || 'worker:s'", "'wor' || char(8232) || 'ker:s'",
    "'worker:s' || char(0)", "'worker:s' || char(0) || 'x'", "CAST(x'613a73ff' AS TEXT)", "CAST(x'613aeda080' AS TEXT)",
]  # fmt: skip


def insert(foreign: Foreign, **columns: str) -> None:
    """Send with columns given as SQL expressions."""
    row = {**GOOD, **columns}
    foreign.execute(f"INSERT INTO outbox ({', '.join(row)}) VALUES ({', '.join(row.values())})")


def refusal(foreign: Foreign, **columns: str) -> str:
    with pytest.raises(ForeignError) as caught:
        insert(foreign, **columns)
    return str(caught.value)


@pytest.mark.parametrize(
    ("column", "address", "message"),
    [("sender", address, SENDER) for address in [*BAD_ADDRESSES, "'*:s'", "'worker:*'", "'*:*'"]]
    + [("recipient", address, RECIPIENT) for address in BAD_ADDRESSES],
)
def test_a_bad_address_is_refused(connect: Connect, foreign: Foreign, column: str, address: str, message: str) -> None:
    bus = connect("worker:s")

    assert refusal(foreign, **{column: address}) == message
    assert bus.last_id() == 0


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("type", "NULL", "type must be a text of 1 to 1024 characters that is not blank"),
        ("type", "x'00'", "type must be a text"),
        ("body", "NULL", "body must be JSON; make plain text JSON with json_quote(...)"),
        ("body", "'hello'", "body must be JSON"),
        ("body", "''", "body must be JSON"),
        ("body", "'{a: 1}'", "body must be JSON"),
        ("body", "x'31'", "body must be"),
        ("urgency", "1", "urgency must be blocking, prompt or fyi"),
        ("tags", "'x'", "tags must be a JSON array of texts"),
        ("tags", "'{}'", "tags must be a JSON array of texts"),
        ("tags", "'[\"a\", null]'", "tags must be a JSON array of texts"),
        ("expires_in_s", "'5'", "expires_in_s must be a number of seconds above 0"),
        ("expires_in_s", "1e12", "expires_in_s must be a number of seconds"),
        ("expires_in_s", "9e999", "expires_in_s must be a number of seconds"),
        ("delay_s", "1e300", "delay_s must be a number of seconds"),
        ("recipient", "'nobody:*'", "no registered address matches that recipient"),
        ("recipient", "'Worker:*'", "no registered address matches that recipient"),
        ("recipient", "'[w]orker:*'", "no registered address matches that recipient"),
    ],
)
def test_a_bad_value_is_refused_with_a_clear_error_and_stores_nothing(
    connect: Connect, foreign: Foreign, column: str, value: str, reason: str
) -> None:
    bus = connect("worker:s")

    assert refusal(foreign, **{column: value}).startswith(f"raven: {reason}")
    assert bus.last_id() == 0
    assert foreign.value("SELECT count(*) FROM deliveries") == 0


LONG = "x" * 1025
BLANKS = ["", " ", "\t", " \n\x1f\x85\xa0\u2028\u3000"]
REFUSED: list[tuple[str, Any, str]] = [
    *[("type", value, "type must be") for value in [None, *BLANKS, 5, LONG, "\ud800"]],
    *[("type", value, "types that begin with") for value in ["raven.undelivered", "raven.", "RAVEN.x"]],
    *[("body", "x" * (4 << 20), "body is over the limit of 4 MiB"), ("body", "é" * (2 << 20), "body is over")],
    *[("urgency", value, "urgency must be") for value in ["soon", "", "Prompt"]],
    *[("tags", [tag], "tags must be") for tag in [*BLANKS, LONG, 5, None, ["a"], "\ud800"]],
    *[("tags", ["x" * 1000] * 5000, "tags must be"), ("tags", "x", "tags must be"), ("tags", {"a": 1}, "tags must be")],
    *[
        (name, value, f"{name} must be")
        for name in ("correlation_id", "task_id", "dedup_key")
        for value in [*BLANKS, LONG, 1.5, "\ud800"]
    ],
    *[("reply_to", value, "reply_to must be") for value in [0, -5, 1.5, "7", 1 << 43]],
    *[("expires_in_s", value, "expires_in_s must be") for value in [0, -1, "soon", 3153600001]],
    *[("delay_s", value, "delay_s must be") for value in [-0.5, "soon", 3153600001]],
    *[("max_attempts", value, "max_attempts must be") for value in [0, -1, 1.5, "5", 1_000_001]],
    *[("report", value, "report must be") for value in ["all", ""]],
    *[("to", value, "no registered address") for value in ["nobody:*", "*:nowhere", "worker+0123456789abcdef:*"]],
    *[("to", value, "recipient must be") for value in ["worker", "a:b:c", "wor*:s", " w:s", "w:" + "s" * 511]],
]
TAKEN: list[tuple[str, Any]] = [
    ("type", "note\uffff"), ("correlation_id", "\ufffe"), ("to", "worker\uffff:s"),
    ("type", "x" * 1024), ("type", "größe 東京"), ("type", "raven"), ("body", "x" * ((4 << 20) - 2)),
    ("tags", ["b", "x" * 1024, "é"]), ("correlation_id", 17), ("task_id", "é" * 1024), ("dedup_key", "once"),
    ("reply_to", (1 << 43) - 1), ("reply_to", 77), ("expires_in_s", 3153600000), ("delay_s", 0),
    ("max_attempts", 1_000_000), ("report", "undelivered"), ("urgency", "fyi"), ("to", "*:s"), ("to", "*:*"),
]  # fmt: skip


def send_both(bus: BusClient, foreign: Foreign, column: str, value: Any) -> list[str]:
    """Send the value by `send` and by `outbox`; returns the refusals."""
    errors = []
    given = {"to": "worker:s", "type": "note", "body": None, column: value}
    try:
        bus.send(**given)
    except RavenError as error:
        errors.append(str(error))
    columns = {"sender": bus.address, "recipient": given.pop("to"), **given}
    columns["body"] = json.dumps(given["body"], ensure_ascii=False)
    if "tags" in columns:
        columns["tags"] = json.dumps(columns["tags"], ensure_ascii=value == ["\ud800"], separators=(",", ":"))
    names = ", ".join(columns)
    # A text with a surrogate: no parameter can have one, so its bytes are cast.
    values = ["CAST(x'eda080' AS TEXT)" if one == "\ud800" else "?" for one in columns.values()]
    params = [one for one in columns.values() if one != "\ud800"]
    try:
        foreign.execute(f"INSERT INTO outbox ({names}) VALUES ({', '.join(values)})", *params)
    except ForeignError as error:
        errors.append(str(error))
    return errors


@pytest.mark.parametrize(("column", "value", "reason"), REFUSED)
def test_the_outbox_refuses_what_send_refuses(
    connect: Connect, foreign: Foreign, column: str, value: Any, reason: str
) -> None:
    bus = connect("boss:s")
    foreign.execute(
        """INSERT INTO identities (address, role, session, registered_at, last_seen)
           VALUES (?, 'worker+0123456789abcdef', 's', 1, 1)""",
        "worker+0123456789abcdef:s",
    )

    by_send, by_outbox = send_both(bus, foreign, column, value)

    assert by_send
    assert by_outbox.startswith(f"raven: {reason}")
    assert foreign.value("SELECT count(*) FROM messages") == foreign.value("SELECT count(*) FROM deliveries") == 0


@pytest.mark.parametrize(("column", "value"), TAKEN)
def test_the_outbox_takes_what_send_takes(connect: Connect, foreign: Foreign, column: str, value: Any) -> None:
    bus = connect("boss:s")
    bus.register("worker:s", "other:s")
    key = column == "dedup_key"

    assert send_both(bus, foreign, column, value) == []

    rows = foreign.execute(
        """SELECT type, body, urgency, tags, correlation_id, reply_to, task_id, dedup_key, report,
                  expires_at - created_at FROM messages"""
    )
    assert len(rows) == (1 if key else 2)
    assert rows[0] == rows[-1]
    assert bus.recipients(1) == bus.recipients(bus.last_id())


def test_a_pattern_that_matches_more_addresses_than_a_message_can_have_stores_nothing(
    connect: Connect, foreign: Foreign
) -> None:
    bus = connect("boss:s")
    foreign.execute(
        """WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i <= (1 << 20))
           INSERT INTO identities (address, role, session, registered_at, last_seen)
           SELECT 'r' || i || ':big', 'r' || i, 'big', 1, 1 FROM n"""
    )

    error = refusal(foreign, recipient="'*:big'")
    foreign.execute("DELETE FROM identities WHERE address = 'r1:big'")
    insert(foreign, recipient="'*:big'")

    assert error == "raven: a message to more than 1048576 recipients is over the limit"
    assert foreign.value("SELECT max(id) >> 20 FROM deliveries") == 1
    assert bus.send("worker:s", "note").id == 2


def test_the_trigger_works_where_the_schema_is_not_trusted(connect: Connect) -> None:
    bus = connect("worker:s")
    connection = apsw.Connection(bus.db_path)
    connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
    connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)

    connection.execute("INSERT INTO outbox (sender, recipient, type, body, tags) VALUES ('a:s', '*:s', 't', '1', '[]')")
    connection.close()

    assert [msg.sender for msg in bus.inbox()] == ["a:s"]


def test_one_bad_row_of_many_stores_none_of_them(connect: Connect, foreign: Foreign) -> None:
    bus = connect("worker:s")

    with pytest.raises(ForeignError, match="body must be JSON"):
        foreign.execute(
            "INSERT INTO outbox(sender, recipient, type, body)"
            " VALUES ('shell:s', 'worker:s', 'n', '1'), ('shell:s', 'worker:s', 'n', 'bad')"
        )

    assert bus.last_id() == 0


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("body", "CAST(x'22ff22' AS TEXT)"),
        ("body", "replace(hex(zeroblob(5000)), '00', '1')"),
        ("body", "replace(hex(zeroblob(999)), '00', '[') || replace(hex(zeroblob(999)), '00', ']')"),
        ("body", "'1e999'"),
        ("body", "'\"\\ud800\"'"),
        ("body", '\'{"a": 1, "a": 2}\''),
        ("type", "CAST(x'ff' AS TEXT)"),
        ("type", "'a' || char(0) || 'b'"),
        ("sender", "CAST(x'613aff' AS TEXT)"),
        ("tags", "CAST(x'5b22ff225d' AS TEXT)"),
        ("task_id", "CAST(x'ff' AS TEXT)"),
        ("correlation_id", "x'ff'"),
        ("dedup_key", "CAST(x'ff' AS TEXT)"),
        ("expires_in_s", "1e12"),
        ("expires_in_s", "1e-9"),
        ("delay_s", "1e13"),
        ("recipient", "'worker:s' || char(160)"),
        ("recipient", "CAST(x'613aff' AS TEXT)"),
    ],
)
def test_after_any_insert_of_an_external_client_the_next_message_is_still_delivered(
    connect: Connect, foreign: Foreign, column: str, value: str
) -> None:
    bus = connect("worker:s")
    with suppress(ForeignError):  # a refusal is allowed, too
        insert(foreign, **{column: value})
    bus.send("worker:s", "note", "next")

    assert bus.inbox()[-1].body == "next"
    assert bus.peers()
    assert [*bus.tail(follow=False)][-1].body == "next"
    assert [msg.body for msg in taken(bus)][-1] == "next"
