"""Held deliveries: another host has them, so that no timer, list or upkeep of this one takes them for its own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from raven import BusClient, LeaseLostError, UndeliveredError, WaitTimeoutError
from raven.host.bus import HostedBus
from raven.model import clock
from raven.model.message import HELD_UNTIL
from raven.query.changes import ChangeLog
from raven.query.receipts import ReceiptPoller
from tests.delivery.test_forgetting import age
from tests.doctor_process import run_checks
from tests.frozen_clock import Clock
from tests.support import Foreign

Connect = Callable[..., BusClient]
Hosted = Callable[..., HostedBus]
both_ways = pytest.mark.both_ways
X, BETA = "x:s", "beta"
LEASE = 77
MINUTE_S = 60


def link(foreign: Foreign) -> None:
    """Make this bus one that is linked to beta."""
    foreign.execute("INSERT INTO link_hosts (host, lease, epoch) VALUES (?, ?, 1)", BETA, LEASE)


def show(foreign: Foreign, address: str = X, host: str = BETA, seen: int = 2_000_000) -> None:
    """Let a host show an address of its own."""
    role, _, session = address.partition(":")
    foreign.execute("INSERT INTO identities VALUES (?, ?, ?, 1, ?, ?)", address, role, session, seen, host)


def hold(foreign: Foreign, message_id: int, recipient: str = X, lease: int = LEASE) -> None:
    """Let beta have a delivery, as a relay does."""
    foreign.execute(
        "UPDATE deliveries SET ready_at = ?, lease = ? WHERE id >> 20 = ? AND recipient = ?",
        *(HELD_UNTIL, lease, message_id, recipient),
    )


def tell(foreign: Foreign, message_id: int, state: int, attempts: int = 1, reason: str | None = None) -> None:
    """Let beta tell what became of a delivery there."""
    foreign.execute(
        """UPDATE deliveries SET state = ?, attempts = ?, reason = ?, finished_at = CASE WHEN ? > 1 THEN 5000000 END,
                  ready_at = CASE WHEN ? > 1 THEN 0 ELSE ready_at END WHERE id >> 20 = ? AND lease = 77""",
        *(state, attempts, reason, state, state, message_id),
    )


@both_ways
def test_a_receipt_names_the_host_that_has_the_delivery_or_at_which_it_was_finished(
    connect: Connect, foreign: Foreign
) -> None:
    boss, worker = connect("boss:s"), connect("worker:s")
    link(foreign)
    sent = boss.send([X, "worker:s"], "job", expires_in_s=MINUTE_S)
    worker.claim()
    hold(foreign, sent.id)

    def story() -> list[tuple[Any, ...]]:
        return [(one.state, one.leased, one.ready_at is None, one.host) for one in boss.receipts(sent.id)]

    here = ("delivered", True, False, None)
    assert story() == [("sent", False, True, BETA), here]
    tell(foreign, sent.id, 1)
    assert story() == [("delivered", False, True, BETA), here]
    tell(foreign, sent.id, 4, 5, "no good")
    worker.ack(sent.id)
    assert story() == [("dead", False, True, BETA), ("acked", False, True, None)]
    assert boss.receipts(sent.id)[0].as_dict()["host"] == BETA

    boss.requeue(sent.id)
    assert story()[0] == ("sent", False, True, None)
    assert foreign.value("SELECT count(*) FROM deliveries WHERE lease = ?", LEASE) == 0


@both_ways
def test_peers_and_figures_count_held_mail_apart_and_name_the_host_of_an_address(
    connect: Connect, foreign: Foreign
) -> None:
    boss = connect("boss:s")
    link(foreign)
    show(foreign)
    for _ in range(3):
        message = boss.send(X, "job", expires_in_s=MINUTE_S)
        hold(foreign, message.id)
    boss.send(X, "job")
    # Past its expiry on this clock, but only beta knows whether it was acked before.
    foreign.execute("UPDATE deliveries SET expires_at = 1 WHERE id >> 20 = ?", message.id)

    peers = {peer.address: peer for peer in boss.peers()}
    stats = boss.stats()

    assert (peers[X].host, peers[X].pending, peers[X].held) == (BETA, 4, 3)
    assert (peers["boss:s"].host, peers["boss:s"].held) == (None, 0)
    assert (stats.held, stats.in_flight, stats.ready, stats.deliveries["sent"]) == (3, 0, 1, 4)
    (row,) = [one for one in stats.addresses if one.address == X]
    assert (row.host, row.held, row.in_flight, row.backlog) == (BETA, 3, 0, 1)
    assert [one.state for one in boss.receipts(message.id)] == ["sent"]


def test_the_roster_and_the_view_show_it_as_held(hosted: Hosted, connect: Connect, foreign: Foreign) -> None:
    boss, view = connect("boss:s"), hosted("raven:view", register=False)
    link(foreign)
    boss.send(X, "job", expires_in_s=MINUTE_S)
    hold(foreign, 1)
    foreign.execute("UPDATE deliveries SET expires_at = 1")

    (entry,) = [one for one in view.roster().read() if one.address == X]
    (scoped,) = [one for one in view.scoped([X]).roster().read() if one.address == X]

    assert (entry.pending, entry.held, entry.in_flight, entry.host) == (1, 1, 0, None)
    assert scoped == entry
    assert [one.held for one in view.scoped([X]).peers() if one.address == X] == [1]
    assert foreign.execute("SELECT recipient, state FROM pending") == [[X, "held"]]


def test_the_change_log_shows_the_host_from_the_hold_on(hosted: Hosted, connect: Connect, foreign: Foreign) -> None:
    boss = connect("boss:s")
    log: ChangeLog = hosted("raven:log").change_log()
    log.enable()
    link(foreign)
    boss.send(X, "job")
    hold(foreign, 1)
    tell(foreign, 1, 1)
    tell(foreign, 1, 2)

    changes = [change.receipt for change in log.between(0, log.end().change)]

    assert [(one.state, one.host, one.leased, one.ready_at) for one in changes] == [
        ("sent", BETA, False, None),
        ("delivered", BETA, False, None),
        ("acked", BETA, False, None),
    ]
    assert [one.host for one in log.receipts([1], 10)[1]] == [BETA]


def test_no_reader_of_its_address_here_takes_it(connect: Connect, hosted: Hosted, foreign: Foreign) -> None:
    boss, x = connect("boss:s"), hosted(X)
    link(foreign)
    boss.send(X, "job", expires_in_s=MINUTE_S)
    hold(foreign, 1)
    before = foreign.execute("SELECT * FROM deliveries")

    assert x.inbox() == x.claim() == list(x.listen(timeout_s=0)) == []
    with pytest.raises(LeaseLostError, match="another consumer holds it"):
        x.extend(1, 30)
    for lease in (5, 6):
        with pytest.raises(LeaseLostError):
            x.ack(1, lease=lease)
        with pytest.raises(LeaseLostError):
            x.nack(1, lease=lease)
    with closing(x.pull_subscription(ack="manual")) as subscription:
        assert subscription.fetch(1) == []
        assert subscription.next_due_s() is None

    assert foreign.execute("SELECT * FROM deliveries") == before


def test_no_timer_of_this_host_ends_a_hold(connect: Connect, foreign: Foreign, monkeypatch: pytest.MonkeyPatch) -> None:
    time = Clock()
    monkeypatch.setattr(clock, "now", time.now)
    boss, other = connect("boss:s"), connect("other:s")
    link(foreign)
    boss.send(X, "job", expires_in_s=MINUTE_S, max_attempts=1, report="undelivered")
    hold(foreign, 1)
    tell(foreign, 1, 1)
    before = foreign.execute("SELECT * FROM deliveries")

    time.step(10 * MINUTE_S)
    other.claim()
    boss.dead()

    assert [(one.state, one.host) for one in boss.receipts(1)] == [("delivered", BETA)]
    assert foreign.execute("SELECT * FROM deliveries") == before
    assert boss.inbox() == []
    # A wait for the receipt sleeps until a ring: nothing here is due.
    poller = ReceiptPoller(lambda: boss.receipts(1), 1)
    assert poller.poll() is None
    assert poller.next_due_s() is None
    with pytest.raises(WaitTimeoutError):
        boss.wait_receipt(1, timeout_s=0)

    tell(foreign, 1, 3)
    with pytest.raises(UndeliveredError, match="x:s: expired"):
        boss.wait_receipt(1, timeout_s=0)


def test_a_lifetime_of_addresses_spares_other_hosts_and_the_mail_that_they_hold(
    connect: Connect, foreign: Foreign
) -> None:
    boss = connect("boss:s", identity_ttl_s=3600)
    link(foreign)
    show(foreign, "far:s")
    for address in ("moved:s", "idle:s"):
        connect(address).register(address)
        sent = boss.send([address, "far:s"], "job")
        hold(foreign, sent.id, "far:s")
        age(foreign, address)
    hold(foreign, 1, "moved:s")
    foreign.execute("UPDATE messages SET created_at = 1")

    news = boss.send("*:s", "news")

    # Mail of moved:s is with beta, where it is in use: it stays, and its mail with it.
    assert [one.recipient for one in boss.receipts(news.id)] == ["far:s", "moved:s"]
    assert {peer.address for peer in boss.peers() if peer.registered_at} == {"boss:s", "far:s", "moved:s"}
    held = foreign.execute("SELECT recipient FROM deliveries WHERE lease = ? AND expires_at IS NULL", LEASE)
    assert sorted(held) == [["far:s"], ["far:s"], ["moved:s"]]
    assert [(one.state, one.host) for one in boss.receipts(2)] == [("expired", None), ("sent", BETA)]


def test_forget_and_prune_let_held_mail_expire_there_by_the_word_of_its_host(
    connect: Connect, foreign: Foreign
) -> None:
    boss = connect("boss:s")
    link(foreign)
    for _ in range(2):
        hold(foreign, boss.send(X, "job").id)

    assert boss.forget(X).deliveries == 2
    foreign.execute("UPDATE deliveries SET expires_at = NULL WHERE id >> 20 = 2")
    assert boss.prune(0, unfinished=True).expired == 1

    # The relay sees an expiry that has passed, and tells it; until beta answers the deliveries are open.
    rows = foreign.execute("SELECT state, lease, ready_at, expires_at IS NULL FROM deliveries ORDER BY id")
    assert rows == [[0, LEASE, HELD_UNTIL, 0]] * 2


OWED = {
    "a frame that beta has not confirmed": "INSERT INTO link_out VALUES ('beta', 1, 5, 1, '{}')",
    "a change that beta must hear of": "INSERT INTO link_news VALUES ((1 << 20) + 1, NULL)",
    "news that beta has not confirmed": "INSERT INTO link_in (origin, message_id, news) VALUES ('beta/9/5', 1, 3)",
}


@pytest.mark.parametrize("way_to_go", ["retention", "prune", "purge"])
@pytest.mark.parametrize("owed", OWED.values(), ids=OWED)
def test_a_message_stays_while_another_host_must_still_hear_of_it(
    hosted: Hosted, foreign: Foreign, way_to_go: str, owed: str
) -> None:
    bus = hosted(X, retention={"max_messages": 1, "grace_s": 0})
    link(foreign)
    for _ in range(3):
        bus.send([X, "y:s"], "job", max_attempts=1)
    state = 4 if way_to_go == "purge" else 2
    foreign.execute(f"UPDATE deliveries SET state = {state}, finished_at = 1")
    foreign.execute("UPDATE messages SET created_at = 1")
    foreign.execute(owed)

    def delete() -> list[list[Any]]:
        kept = None
        if way_to_go == "retention":
            bus.run_maintenance()
        elif way_to_go == "purge":
            bus.purge_dead()
        else:
            kept = bus.prune(0, grace_s=0).kept
            assert kept == foreign.value("SELECT count(*) FROM messages") - 1
        return foreign.execute("SELECT id FROM messages ORDER BY id")

    assert delete() == [[1], [3]]
    assert foreign.value("SELECT count(*) FROM deliveries WHERE id >> 20 = 1") == 2
    for confirming in ("DELETE FROM link_out", "DELETE FROM link_news", "UPDATE link_hosts SET confirmed = 3"):
        foreign.execute(confirming)
    if way_to_go != "purge":  # a purge has left them expired, for retention
        assert delete() == [[3]]


def test_the_clock_of_another_host_is_not_this_one(connect: Connect, foreign: Foreign) -> None:
    boss = connect("boss:s")
    link(foreign)
    hold(foreign, boss.send(X, "job").id)
    show(foreign, seen=HELD_UNTIL)
    foreign.execute("UPDATE deliveries SET state = 1, delivered_at = ?", HELD_UNTIL)

    assert run_checks(boss.db_path)["clock"].verdict == "ok"


def test_a_row_in_the_outbox_goes_to_the_addresses_of_other_hosts_too(connect: Connect, foreign: Foreign) -> None:
    boss = connect("boss:s")
    link(foreign)
    show(foreign)

    foreign.send("*:s", sender="boss:s")

    assert [one.recipient for one in boss.receipts(1)] == [X]
    connect(X).inbox()  # used here: it is an address of this host from now on
    assert [peer.host for peer in boss.peers() if peer.address == X] == [None]
