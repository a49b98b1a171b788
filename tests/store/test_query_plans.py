"""The index decides the speed (DESIGN.md, section 4): no hot statement scans a table."""

from __future__ import annotations

import re
from collections.abc import Iterator

import apsw
import pytest

from raven.store.sql import SQL, change_log, migrations_after

OPEN = "SEARCH deliveries USING INDEX deliveries_open (leased=? AND recipient=?"
# For each statement, the parts that its plan must contain.
EXPECTED = {
    "claim": [f"{OPEN} AND ready_at=?)", "SEARCH deliveries USING INTEGER PRIMARY KEY (rowid=?)"],
    "next_ready": [
        "SEARCH d USING INDEX deliveries_open (leased=? AND recipient=? AND ready_at=?)",
        "SEARCH m USING INTEGER PRIMARY KEY (rowid=?)",
    ],
    "consume": ["SEARCH deliveries USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"],
    "ack": ["SEARCH deliveries USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"],
    "mark_delivered": ["SEARCH deliveries USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"],
    "release": [f"{OPEN} AND ready_at<?)"],
    "prefetch": [f"{OPEN} AND ready_at=?)"],
    "list_leased": [f"{OPEN})"],
    "renew": [f"{OPEN})"],
    "claim_one": ["SEARCH deliveries USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"],
    "peek_ready": [
        f"{OPEN} AND ready_at=?)",
        f"{OPEN} AND ready_at>?)",
        "SEARCH deliveries USING INDEX deliveries_expiry (expires_at>? AND expires_at<?)",
    ],
    "has_due_timer": [
        "SEARCH deliveries USING INDEX deliveries_delayed (ready_at>? AND ready_at<?)",
        "SEARCH deliveries USING INDEX deliveries_expiry (expires_at>? AND expires_at<?)",
    ],
    "release_delayed": [
        "SEARCH deliveries USING INTEGER PRIMARY KEY (rowid=?)",
        "SEARCH deliveries USING INDEX deliveries_delayed (ready_at>? AND ready_at<?)",
    ],
    "recipients_with_ended_leases": [
        "SEARCH deliveries USING INDEX deliveries_open (leased=?)",
        "SEARCH d USING INDEX deliveries_open (leased=? AND recipient>?)",
        "SEARCH d USING INDEX deliveries_open (leased=? AND recipient=? AND ready_at>?)",
    ],
    "release_due": [f"{OPEN} AND ready_at>? AND ready_at<?)"],
    "list_unacked": [
        f"{OPEN} AND ready_at=?)",
        f"{OPEN} AND ready_at>? AND ready_at<?)",
        f"{OPEN} AND ready_at<?)",
        "SEARCH d USING INTEGER PRIMARY KEY (rowid=?)",
        "SEARCH m USING INTEGER PRIMARY KEY (rowid=?)",
    ],
    "list_waiting": [
        f"{OPEN} AND ready_at=?)",
        f"{OPEN} AND ready_at>? AND ready_at<?)",
        "SEARCH m USING INTEGER PRIMARY KEY (rowid=?)",
    ],
    "thread_depth": ["SEARCH m USING INTEGER PRIMARY KEY (rowid=?)"],
    "expire": ["SEARCH deliveries USING INDEX deliveries_expiry (expires_at>? AND expires_at<?)"],
    "new_recipients_after": ["SEARCH deliveries USING INTEGER PRIMARY KEY (rowid>?)"],
    "unseen_identities": ["SEARCH identities USING INDEX identities_seen (last_seen<?)"],
    "holds_lease": [f"{OPEN})"],
    "shorten_lives": [
        "SEARCH deliveries USING INTEGER PRIMARY KEY (rowid=?)",
        "SEARCH d USING INDEX deliveries_open (leased=? AND recipient=?)",
    ],
    "recipients_matching": [
        "SEARCH deliveries USING INDEX deliveries_open (leased=? AND recipient>?)",
        "SEARCH d USING INDEX deliveries_open (leased=? AND recipient>?)",
    ],
    "expire_older": [
        "SEARCH d USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
        "SEARCH m USING INTEGER PRIMARY KEY (rowid=?)",
    ],
    "retention_batch": [
        "SEARCH m USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
        "SEARCH answer USING INDEX messages_reply (reply_to=?)",
        "SEARCH o USING COVERING INDEX link_out_message (message_id=?)",
        "SEARCH n USING PRIMARY KEY (delivery_id>? AND delivery_id<?)",
        "SEARCH i USING INDEX link_in_message (message_id=?)",
    ],
    "receipts_of": [
        "SEARCH d USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
        "SEARCH h USING INDEX sqlite_autoindex_link_hosts_2 (lease=?)",
    ],
    "find_duplicate": ["SEARCH messages USING COVERING INDEX messages_dedup (sender=? AND dedup_key=?)"],
    "get_delivery": [
        "SEARCH m USING INTEGER PRIMARY KEY (rowid=?)",
        "SEARCH d USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
    ],
    "log_correlated": ["SEARCH m USING INDEX messages_correlation (correlation_id=?)"],
    "log_of_task": ["SEARCH m USING INDEX messages_task (task_id=?)"],
    "recipients_of": ["SEARCH deliveries USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"],
    "delete_deliveries": ["SEARCH deliveries USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"],
    "can_see": [
        "SEARCH messages USING INTEGER PRIMARY KEY (rowid=?)",
        "SEARCH deliveries USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
        "SEARCH deliveries USING COVERING INDEX deliveries_wide (recipient=? AND rowid>? AND rowid<?)",
    ],
    "scoped_receipts_of": [
        "SEARCH m USING INTEGER PRIMARY KEY (rowid=?)",
        "SEARCH d USING INTEGER PRIMARY KEY (rowid=?)",
        "SEARCH d USING COVERING INDEX deliveries_wide (recipient=? AND rowid>? AND rowid<?)",
    ],
    "scoped_log_correlated": [
        "SEARCH m USING INDEX messages_correlation (correlation_id=?)",
        "SEARCH d USING COVERING INDEX deliveries_wide (recipient=? AND rowid>? AND rowid<?)",
    ],
    "sample_before": [
        "SEARCH d USING INTEGER PRIMARY KEY (rowid<?)",
        "SEARCH m USING INTEGER PRIMARY KEY (rowid=?)",
    ],
    "change_log_end": ["SEARCH messages", "SEARCH delivery_changes"],
    "changes_between": [
        "SEARCH c USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
        "SEARCH d USING INTEGER PRIMARY KEY (rowid=?)",
        "SEARCH m USING INTEGER PRIMARY KEY (rowid=?)",
    ],
    "receipts_among": ["SEARCH d USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"],
    "scoped_receipts_among": [
        "SEARCH m USING INTEGER PRIMARY KEY (rowid=?)",
        "SEARCH d USING INTEGER PRIMARY KEY (rowid=?)",
        "SEARCH d USING COVERING INDEX deliveries_wide (recipient=? AND rowid>? AND rowid<?)",
    ],
    "recipients_among": ["SEARCH d USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"],
    "count_messages": ["SEARCH messages USING INTEGER PRIMARY KEY (rowid>?)"],
    "count_deliveries": ["SEARCH deliveries USING INTEGER PRIMARY KEY (rowid>?)"],
}


@pytest.fixture(scope="module", params=["fresh", "analyzed"])
def database(request: pytest.FixtureRequest) -> Iterator[apsw.Connection]:
    """Make a bus with a history, as it is and with statistics, as after an external client's `PRAGMA optimize`."""
    connection = apsw.Connection(":memory:")
    for script in (*migrations_after(0), change_log()):
        connection.execute(script)
    with connection:
        for number in range(1, 2001):
            connection.execute(
                'INSERT INTO messages (sender, "to", type, body, created_at, task_id, correlation_id, dedup_key)'
                " VALUES ('a:s', ?, 't', '1', 1, 't', 'c', ?)",
                (f"w{number % 10}:s", number),
            )
            connection.execute(
                "INSERT INTO deliveries (id, recipient, urgency, state, expires_at) VALUES (? << 20, ?, 1, ?, ?)",
                (number, f"w{number % 10}:s", 0 if number > 1990 else 2, number),
            )
    if request.param == "analyzed":
        connection.execute("ANALYZE")
    yield connection
    connection.close()


def plan(database: apsw.Connection, name: str) -> list[str]:
    bindings = dict.fromkeys(re.findall(r"(?<!:):(\w+)", SQL[name]), 1)
    return [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {SQL[name]}", bindings)]


@pytest.mark.parametrize(("name", "pieces"), EXPECTED.items())
def test_a_hot_statement_searches_and_never_scans(database: apsw.Connection, name: str, pieces: list[str]) -> None:
    steps = plan(database, name)

    for piece in pieces:
        assert any(step.startswith(piece) for step in steps), steps
    assert not [step for step in steps if re.match(r"SCAN (messages|deliveries|m|d)\b", step)], steps


@pytest.mark.parametrize(
    "name", ["claim", "prefetch", "next_ready", "log_after", "scoped_log_after", "prunable_batch", "sample_before"]
)
def test_a_statement_in_index_order_sorts_nothing(database: apsw.Connection, name: str) -> None:
    assert not [step for step in plan(database, name) if "TEMP B-TREE" in step]


@pytest.mark.parametrize("name", ["backlog", "unacked_by_recipient"])
def test_a_count_by_recipient_reads_only_the_index_and_sorts_only_the_recipients(
    database: apsw.Connection, name: str
) -> None:
    steps = plan(database, name)

    # Leased and other deliveries stand apart in the index: their counts by recipient are merged.
    read = [step for step in steps if re.match(r"(SCAN|SEARCH) (deliveries|e)\b", step)]
    assert read == [
        "SEARCH deliveries USING INDEX deliveries_open (leased=?)",
        "SEARCH e USING INDEX deliveries_expiry (expires_at>? AND expires_at<?)",
        "SEARCH deliveries USING INDEX deliveries_open (leased=?)",
    ]
    assert [step for step in steps if "TEMP B-TREE" in step] == ["USE TEMP B-TREE FOR GROUP BY"]


def test_statistics_of_unfinished_deliveries_read_no_history(database: apsw.Connection) -> None:
    steps = [step for name in ("retried_by_attempt", "dead_by_recipient") for step in plan(database, name)]

    read = [step for step in steps if re.match(r"(SCAN|SEARCH) \w+ ", step)]
    assert read == [
        "SCAN deliveries USING INDEX deliveries_open",
        "SCAN deliveries USING COVERING INDEX deliveries_dead",
    ]
