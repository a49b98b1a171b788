"""The outbox refuses bad values with a readable error; no accepted value can harm a reader."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest

from raven import BusClient
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
        ("type", "NULL", "type must be a text that is not empty"),
        ("type", "''", "type must be a text that is not empty"),
        ("type", "'  '", "type must be a text that is not empty"),
        ("type", "x'00'", "type must be a text"),
        ("body", "NULL", "body must be JSON; make plain text JSON with json_quote(...)"),
        ("body", "'hello'", "body must be JSON"),
        ("body", "''", "body must be JSON"),
        ("body", "'{a: 1}'", "body must be JSON"),
        ("body", "x'31'", "body must be"),
        ("urgency", "'soon'", "urgency must be blocking, prompt or fyi"),
        ("urgency", "1", "urgency must be blocking, prompt or fyi"),
        ("tags", "'x'", "tags must be a JSON array of texts"),
        ("tags", "'{}'", "tags must be a JSON array of texts"),
        ("tags", "'[1]'", "tags must be a JSON array of texts"),
        ("tags", "'[\"a\", null]'", "tags must be a JSON array of texts"),
        ("expires_in_s", "0", "expires_in_s must be a number of seconds above 0"),
        ("expires_in_s", "-1", "expires_in_s must be a number of seconds above 0"),
        ("expires_in_s", "'5'", "expires_in_s must be a number of seconds above 0"),
        ("expires_in_s", "1e12", "expires_in_s must be a number of seconds"),
        ("expires_in_s", "9e999", "expires_in_s must be a number of seconds"),
        ("delay_s", "-0.5", "delay_s must be a number of seconds, 0 or more"),
        ("delay_s", "'soon'", "delay_s must be a number of seconds, 0 or more"),
        ("delay_s", "1e300", "delay_s must be a number of seconds"),
        ("reply_to", "'7'", "reply_to must be the id of a message"),
        ("reply_to", "1.5", "reply_to must be the id of a message"),
        ("recipient", "'nobody:*'", "no registered address matches that recipient"),
        ("recipient", "'Worker:*'", "no registered address matches that recipient"),
        ("recipient", "'[w]orker:*'", "no registered address matches that recipient"),
        ("recipient", "'*:nowhere'", "no registered address matches that recipient"),
    ],
)
def test_a_bad_value_is_refused_with_a_clear_error_and_stores_nothing(
    connect: Connect, foreign: Foreign, column: str, value: str, reason: str
) -> None:
    bus = connect("worker:s")

    assert refusal(foreign, **{column: value}).startswith(f"raven: {reason}")
    assert bus.last_id() == 0
    assert foreign.value("SELECT count(*) FROM deliveries") == 0


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
        ("reply_to", "-5"),
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
