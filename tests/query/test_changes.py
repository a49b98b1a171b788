"""The change log: one row for each change of a delivery, whichever program makes it, and nothing without it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from raven import BusObserver
from raven.client import BusClient
from raven.delivery import change_log
from raven.errors import DatabaseError, StatementError
from raven.host.bus import HostedBus
from raven.query.changes import ChangeLog
from tests.doctor_process import run_checks
from tests.frozen_clock import SECOND_US, Clock, elected
from tests.support import Foreign

Connect = Callable[..., BusClient]


@pytest.fixture
def log(hosted: Callable[..., HostedBus]) -> ChangeLog:
    log = hosted("raven:log").change_log()
    log.enable()
    return log


def shown(log: ChangeLog, after: int = 0) -> list[tuple[Any, ...]]:
    """Return the state, the attempts and the lease of each change, and the reason."""
    receipts = [change.receipt for change in log.between(after, log.end().change)]
    return [(one.state, one.attempts, one.leased, one.reason) for one in receipts]


CLAIMED = ("delivered", 1, True, None)
LAST = "attempt 1 of 1 was nacked"
STORIES: dict[str, tuple[dict[str, Any], Callable[[BusClient, int], object], list[tuple[Any, ...]]]] = {
    "peek": ({}, lambda bus, id: bus.inbox(peek=True), []),
    "inbox": ({}, lambda bus, id: bus.inbox(), [("delivered", 0, False, None)]),
    "ack": ({}, lambda bus, id: (bus.claim(), bus.ack(id)), [CLAIMED, ("acked", 1, False, None)]),
    "nack": (
        {},
        lambda bus, id: (bus.claim(), bus.nack(id)),
        [CLAIMED, ("delivered", 1, False, None)],
    ),
    "nack with a reason": (
        {},
        lambda bus, id: (bus.claim(), bus.nack(id, reason="later", delay_s=60)),
        [CLAIMED, ("delivered", 1, False, "later")],
    ),
    "extend": ({}, lambda bus, id: (bus.claim(lease_s=90), bus.extend(id, 90)), [CLAIMED]),
    "consumed": ({}, lambda bus, id: next(bus.listen(timeout_s=5)), [("acked", 1, False, None)]),
    "dead, requeued": (
        {"max_attempts": 1},
        lambda bus, id: (bus.claim(), bus.nack(id), bus.requeue(id)),
        [CLAIMED, ("dead", 1, False, LAST), ("sent", 0, False, LAST)],
    ),
    "forgotten": ({}, lambda bus, id: bus.forget(bus.address), [("expired", 0, False, None)]),
}


@pytest.mark.parametrize("story", STORIES)
def test_each_change_of_a_delivery_is_logged_once(log: ChangeLog, connect: Connect, story: str) -> None:
    options, act, changes = STORIES[story]
    bus = connect("worker:s")
    sent = connect("boss:s").send("worker:s", "job", **options)

    act(bus, sent.id)

    assert shown(log) == changes
    if changes:
        last = log.between(0, log.end().change)[-1]
        now = bus.receipts(sent.id)[0]
        assert last.receipt._replace(ready_at=None) == now._replace(ready_at=None)
        assert (last.message_id, last.sender, last.type) == (sent.id, "boss:s", "job")


def test_a_lease_that_runs_out_is_a_change(
    log: ChangeLog, connect: Connect, db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr("raven.model.clock.now", clock.now)
    bus = connect("worker:s")
    with elected(db):
        connect("boss:s").send("worker:s", "job")
        bus.claim(lease_s=10)
        clock.step(11)
        bus.claim()

    assert shown(log) == [CLAIMED, ("delivered", 1, False, None), ("delivered", 2, True, None)]


def test_other_writers_are_logged_too_and_user_sql_cannot_change_the_log(
    log: ChangeLog, connect: Connect, foreign: Foreign
) -> None:
    bus = connect("worker:s")
    foreign.send("worker:s")
    foreign.execute("UPDATE deliveries SET state = 2, finished_at = 1")

    assert shown(log) == [("acked", 0, False, None)]
    for statement in (
        "DELETE FROM delivery_changes",
        "DROP TRIGGER delivery_changed",
        "CREATE TABLE Delivery_Changes (x)",
        "INSERT INTO delivery_changes DEFAULT VALUES",
    ):
        with pytest.raises(StatementError, match="user SQL cannot change raven's tables"):
            bus.execute(statement)
    with bus.transaction() as tx:
        tx.execute("INSERT INTO outbox (sender, recipient, type, body) VALUES ('a:s', 'worker:s', 't', '1')")
        tx.execute("SELECT count(*) FROM delivery_changes")
    assert bus.claim()[0].sender == "a:s"
    assert shown(log)[1:] == [CLAIMED]


def test_the_log_keeps_the_newest_changes_and_is_made_once(log: ChangeLog, connect: Connect, foreign: Foreign) -> None:
    connect("boss:s").send("worker:s", "job")
    tag = log.end().tag
    foreign.execute("INSERT INTO delivery_changes SELECT 99999, id, 0, 0, 0, 0, 0, NULL, NULL, NULL FROM deliveries")
    foreign.execute(
        "WITH RECURSIVE n(i) AS (SELECT 100000 UNION ALL SELECT i + 1 FROM n WHERE i < 200000) "
        "INSERT INTO delivery_changes SELECT i, d.id, 0, 0, 0, 0, 0, NULL, NULL, NULL FROM n, deliveries AS d"
    )

    log.enable()
    end = log.end()

    assert (end.change, end.tag) == (200_000, tag)
    assert 99_744 <= end.oldest <= 100_000


def test_a_table_of_another_program_is_left_alone(hosted: Callable[..., HostedBus], foreign: Foreign, db: str) -> None:
    bus = hosted("raven:log")
    foreign.execute("CREATE TABLE delivery_changes (theirs)")

    with pytest.raises(DatabaseError, match=r"has a table delivery_changes that is not raven's.*: rename that table"):
        bus.change_log().enable()
    assert foreign.execute("SELECT * FROM delivery_changes") == []


def test_a_spoiled_trigger_is_mended_with_another_tag(log: ChangeLog, connect: Connect, foreign: Foreign) -> None:
    tag = log.end().tag
    foreign.execute("DROP TRIGGER delivery_changed")
    foreign.execute("CREATE TRIGGER delivery_changed AFTER UPDATE ON deliveries BEGIN SELECT 1; END")
    connect("boss:s").send("worker:s", "job")

    log.enable()
    connect("worker:s").claim()

    assert log.end().tag != tag
    assert shown(log) == [CLAIMED]


def test_a_bus_without_a_log_has_no_trace_of_it_and_doctor_names_one(
    db: str, connect: Connect, hosted: Callable[..., HostedBus], foreign: Foreign
) -> None:
    connect("worker:s").claim()
    assert foreign.execute("SELECT name FROM sqlite_schema WHERE name LIKE 'delivery_change%'") == []

    hosted("raven:log").change_log().enable()
    check = run_checks(db)["schema"]

    assert check.verdict == "ok", check
    assert re.search(r"each change of a delivery is logged .* until 20\S+Z if no viewer comes", check.found)
    foreign.execute("CREATE TRIGGER spy AFTER INSERT ON delivery_changes BEGIN SELECT 1; END")
    assert "a foreign trigger spy is on raven's delivery_changes" in run_checks(db)["schema"].found


HOUR = 3600 * SECOND_US
ENDS: dict[str, tuple[str, bool]] = {  # by SQL from the end of a log that has just begun, a day from now
    "now": ("value - 24 * {hour}", True),
    "soon": ("value - 23 * {hour}", False),
    "set far ahead by a clock that was wrong": ("value + 25 * {hour}", True),
    "set ahead": ("value + 23 * {hour}", False),
    "no number": ("'never'", True),
}
SETTLERS: dict[str, Callable[[HostedBus], object]] = {
    "a server": lambda bus: bus.run_maintenance(),
    "a loop that waits": lambda bus: next(bus.listen(timeout_s=0.5), None),
    "prune": lambda bus: bus.prune(0, dry_run=True),
}


@pytest.mark.parametrize(
    ("end", "settler"), [*((end, "a server") for end in ENDS), *(("now", one) for one in SETTLERS)]
)
def test_a_log_without_viewers_is_dropped_when_its_end_has_come(
    log: ChangeLog, connect: Connect, hosted: Callable[..., HostedBus], foreign: Foreign, end: str, settler: str
) -> None:
    connect("boss:s").send("worker:s", "job")
    connect("worker:s").claim()
    tag, keys = log.end().tag, "SELECT count(*) FROM meta WHERE key LIKE 'change_log%'"
    value, is_dropped = ENDS[end]
    foreign.execute(f"UPDATE meta SET value = {value.format(hour=HOUR)} WHERE key = 'change_log_until'")

    SETTLERS[settler](hosted("waiting:s"))

    assert foreign.value("SELECT count(*) FROM sqlite_schema WHERE name LIKE 'delivery_change%'") == 3 * (
        not is_dropped
    )
    assert foreign.value(keys) == 2 * (not is_dropped)
    connect("worker:s").ack(1)
    log.enable()
    assert (log.end().tag != tag) == is_dropped
    assert shown(log) == ([] if is_dropped else [CLAIMED, ("acked", 1, False, None)])


def test_viewers_put_off_the_end_once_an_hour_and_a_late_process_does_not_drop_it(
    hosted: Callable[..., HostedBus], foreign: Foreign, db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr("raven.model.clock.now", clock.now)
    log, until = hosted("raven:log").change_log(), "SELECT value FROM meta WHERE key = 'change_log_until'"
    ends = []
    for seconds in (0, 3599, 2, 23 * 3600, -50 * 3600):
        clock.step(seconds)
        log.enable()
        ends.append(int(foreign.value(until)) - clock.now())
    tag = log.end().tag

    with BusClient.at("late:s", db) as late:
        change_log.end_if_due(late._store, clock.now())

    assert ends == [24 * HOUR, 24 * HOUR - 3599 * SECOND_US, 24 * HOUR, 24 * HOUR, 24 * HOUR]
    assert log.end().tag == tag


def test_the_end_of_a_log_leaves_a_table_of_another_program(
    log: ChangeLog, hosted: Callable[..., HostedBus], foreign: Foreign
) -> None:
    foreign.execute("ALTER TABLE delivery_changes ADD COLUMN theirs TEXT")
    foreign.execute("UPDATE meta SET value = 0 WHERE key = 'change_log_until'")

    hosted("waiting:s").run_maintenance()

    left = foreign.execute("SELECT name FROM sqlite_schema WHERE name LIKE 'delivery_change%' ORDER BY name")
    assert left == [["delivery_changes"], ["delivery_changes_trim"]]


def test_a_copy_of_the_file_keeps_the_log(log: ChangeLog, connect: Connect, foreign: Foreign, db: str) -> None:
    connect("boss:s").send("worker:s", "job")
    connect("worker:s").claim()
    foreign.execute("VACUUM INTO ?", f"{db}.copy")
    connect("worker:s").ack(1)

    with BusObserver(f"{db}.copy") as copy:
        copied = ChangeLog(copy._store)
        assert copied.end()[:4] == (1, 1, 1, log.end().tag)
        assert shown(copied) == [CLAIMED]


def test_scoped_views_have_only_their_own_deliveries(
    log: ChangeLog, connect: Connect, hosted: Callable[..., HostedBus]
) -> None:
    own, other, boss = connect("own:s"), connect("other:t"), connect("boss:s")
    for recipients in (["own:s", "other:t"], "other:t"):
        boss.send(recipients, "job")
    own.claim()
    other.claim(2)

    def seen(*scope: str) -> tuple[Any, ...]:
        view = hosted("raven:view").scoped(scope).change_log()
        changes = [(one.message_id, one.receipt.recipient) for one in view.between(0, 9)]
        receipts = {id: [one.recipient for one in some] for id, some in view.receipts([1, 2], 100).items()}
        return changes, receipts, view.recipients([1, 2], ["other:t"], ["s"])

    everything = [(1, "own:s"), (1, "other:t"), (2, "other:t")]
    assert seen("own:s") == ([(1, "own:s")], {1: ["own:s"]}, {1: {"own:s"}})
    assert seen("boss:s") == (
        everything,
        {1: ["own:s", "other:t"], 2: ["other:t"]},
        {1: {"own:s", "other:t"}, 2: {"other:t"}},
    )
    assert seen("nobody:x") == ([], {}, {})
