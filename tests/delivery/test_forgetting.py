"""Forgetting: addresses and unfinished mail end, by a call, by a lifetime, or by `prune(unfinished=True)`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from raven import AddressError, BusClient, ConfigError, InputError, UndeliveredError
from raven.delivery import forgetting
from raven.host.bus import HostedBus
from raven.wake.doorbell import receipt_address
from tests.support import DEADLINE_S, Foreign, wait_for_waiting, wait_until
from tests.thread_call import Asking

Connect = Callable[..., BusClient]
Hosted = Callable[..., HostedBus]
both_ways = pytest.mark.both_ways
DAY_US = 86_400_000_000


def unfinished(foreign: Foreign) -> list[Any]:
    """Return message id and recipient of each unfinished delivery in the file."""
    return foreign.execute("SELECT id >> 20, recipient FROM deliveries WHERE state < 2 ORDER BY id")


def registered(bus: Any) -> list[str]:
    return [peer.address for peer in bus.peers() if peer.registered_at is not None]


def age(foreign: Foreign, address: str, days: float = 2) -> None:
    """Let an address have been used last some days ago."""
    foreign.execute(f"UPDATE identities SET last_seen = last_seen - {int(days * DAY_US)} WHERE address = ?", address)


# forget


@both_ways
def test_a_forgotten_address_has_no_mail_and_gets_no_broadcast(connect: Connect, foreign: Foreign) -> None:
    boss, gone, other = connect("boss:s"), connect("gone:s"), connect("other:s")
    for bus in (boss, gone, other):
        bus.register(str(bus.address))
    direct, broadcast = boss.send("gone:s", "job"), boss.send("*:s", "news")
    gone.ack(boss.send("gone:s", "done").id)

    forgotten = boss.forget("gone:s")
    later = boss.send("*:s", "news")

    assert forgotten == (1, 2)
    assert registered(boss) == ["boss:s", "other:s"]
    assert [message.id for message in other.inbox()] == [broadcast.id, later.id]
    assert [one.state for one in boss.receipts(direct.id)] == ["expired"]
    assert [(one.recipient, one.state) for one in boss.receipts(broadcast.id)] == [
        ("gone:s", "expired"),
        ("other:s", "delivered"),
    ]
    assert boss.forget("gone:s") == (0, 0)


@both_ways
@pytest.mark.parametrize(
    ("target", "left"),
    [
        ("*:old", ["a:new", "b:new"]),
        ("a:*", ["b:new", "b:old"]),
        ("*:*", []),
        ("a:old", ["a:new", "b:new", "b:old"]),
    ],
)
def test_a_pattern_means_all_addresses_that_match_registered_or_not(
    connect: Connect, foreign: Foreign, target: str, left: list[str]
) -> None:
    boss = connect("boss:main")
    boss.register("a:old", "b:old", "a:new")
    boss.send(["a:old", "b:old", "a:new", "b:new"], "job")

    boss.forget(target)

    assert sorted(address for _, address in unfinished(foreign)) == left
    assert [address for address in registered(boss) if address != "boss:main"] == [
        address for address in left if address != "b:new"
    ]


@both_ways
def test_a_leased_message_can_be_finished_and_expires_at_the_end_of_its_lease(
    connect: Connect, foreign: Foreign
) -> None:
    boss, worker = connect("boss:s"), connect("worker:s")
    done, abandoned = boss.send("worker:s", "job"), boss.send("worker:s", "job")
    worker.claim(max=2, lease_s=60)

    assert boss.forget("worker:s").deliveries == 2
    worker.ack(done.id)
    before = [boss.receipts(id)[0].state for id in (done.id, abandoned.id)]
    foreign.execute("UPDATE deliveries SET ready_at = 1 WHERE lease IS NOT NULL")

    assert before == ["acked", "delivered"]
    assert boss.receipts(abandoned.id)[0].state == "expired"
    assert worker.claim() == []


@both_ways
def test_senders_get_their_reports_and_waits_end(db: str, connect: Connect) -> None:
    boss, other = connect("boss:s"), connect("other:s")
    message = boss.send("gone:s", "job", report="undelivered")
    waiting = Asking(lambda: boss.wait_receipt(message.id, timeout_s=DEADLINE_S))
    wait_for_waiting(db, receipt_address(message.id))

    other.forget("gone:s")

    assert isinstance(waiting.outcome(), UndeliveredError)
    (report,) = boss.inbox()
    assert (report.type, report.body["recipient"], report.body["state"]) == ("raven.undelivered", "gone:s", "expired")


@both_ways
def test_reports_to_addresses_of_the_same_session_do_not_stay(connect: Connect, foreign: Foreign) -> None:
    connect("boss:s").send("gone:s", "job", report="undelivered")

    connect("operator:main").forget("*:s")

    assert unfinished(foreign) == []


@both_ways
def test_a_private_reply_address_matches_no_pattern(connect: Connect, foreign: Foreign) -> None:
    asker, oracle = connect("asker:s"), connect("oracle:s")
    asking = Asking(lambda: asker.request("oracle:s", "question", timeout_s=60))
    (question,) = wait_until(oracle.inbox, "the question")
    oracle.reply(question, "answer", 42, delay_s=1)

    oracle.forget("*:s")
    oracle.forget("*:*")

    assert asking.outcome().body == 42


def test_a_client_that_goes_on_registers_again(hosted: Hosted, foreign: Foreign) -> None:
    boss, worker = hosted("boss:s"), hosted("worker:s", identity_ttl_s=0.4)
    boss.forget("worker:s")

    def is_back() -> bool:
        worker.claim()
        worker.send("elsewhere:s", "note")
        return "worker:s" in registered(boss)

    wait_until(is_back, "the next heartbeat")


@both_ways
@pytest.mark.parametrize("targets", [("worker",), ("worker:s", ""), ("*",), (7,)])
def test_a_bad_target_is_refused_and_nothing_is_forgotten(connect: Connect, targets: Any) -> None:
    bus = connect("worker:s")
    bus.register("worker:s")

    with pytest.raises(InputError):
        bus.forget(*targets)
    with pytest.raises((AddressError, InputError)):
        bus.forget()
    assert registered(bus) == ["worker:s"]


def test_many_addresses_are_forgotten_in_small_transactions(connect: Connect, foreign: Foreign) -> None:
    bus = connect("boss:s")
    addresses = [f"{number}:junk" for number in range(3000)]
    bus.register(*addresses)
    bus.send(addresses, "junk")
    bus.send_many([{"to": "0:junk", "type": "junk"}] * 3000)
    changes: list[int] = []
    write = bus._store.write

    def counted(step: Any) -> Any:
        before = bus._store.usable.total_changes()  # type: ignore[union-attr]
        result = write(step)
        changes.append(bus._store.usable.total_changes() - before)  # type: ignore[union-attr]
        return result

    bus._store.write = counted  # type: ignore[method-assign]
    forgotten = bus.forget("*:junk")

    assert forgotten == (3000, 6000)
    assert unfinished(foreign) == []
    assert max(changes) <= 1000


# identity_ttl_s


def test_broadcasts_pass_over_an_address_that_was_not_used_for_long_and_it_is_forgotten(
    connect: Connect, foreign: Foreign
) -> None:
    boss = connect("boss:s", identity_ttl_s=86_400)
    connect("gone:s")
    connect("there:s")
    old, young = boss.send("gone:s", "job"), boss.send("gone:s", "job", report="undelivered")
    foreign.execute(f"UPDATE messages SET created_at = created_at - {2 * DAY_US} WHERE id = ?", old.id)
    age(foreign, "gone:s")

    news = boss.send("*:s", "news")

    assert boss.recipients(news.id) == ["there:s"]
    assert registered(boss) == ["boss:s", "there:s"]
    assert boss.receipts(old.id)[0].state == "expired"
    # Direct mail that is younger than the lifetime waits on, and ends at that age.
    (receipt,) = boss.receipts(young.id)
    assert (receipt.state, round((receipt.expires_at - young.created_at).total_seconds())) == ("sent", 86_400)  # type: ignore[operator]


def test_an_address_with_a_waiting_subscriber_or_a_lease_is_not_forgotten(
    db: str, connect: Connect, foreign: Foreign
) -> None:
    boss, waiter, holder = connect("boss:s", identity_ttl_s=86_400), connect("waiter:s"), connect("holder:s")
    boss.send("holder:s", "job")
    holder.claim(lease_s=600)
    waiting = Asking(lambda: next(iter(waiter.listen(timeout_s=DEADLINE_S))))
    wait_for_waiting(db, "waiter:s")
    for address in ("waiter:s", "holder:s", "boss:s"):
        age(foreign, address)

    news = boss.send("*:s", "news")

    assert waiting.outcome().id == news.id
    assert boss.recipients(news.id) == ["holder:s", "waiter:s"]
    assert foreign.value("SELECT count(*) FROM identities WHERE last_seen < unixepoch() * 1000000 - 60000000") == 0


def test_a_server_and_a_waiting_client_forget_without_any_send(
    hosted: Hosted, connect: Connect, foreign: Foreign
) -> None:
    watcher = connect("watcher:s", identity_ttl_s=86_400)
    host = hosted("host:s", identity_ttl_s=86_400, register=False)
    connect("gone:s")
    age(foreign, "gone:s")
    host.run_maintenance()
    after_maintenance = registered(watcher)
    connect("gone:t")
    age(foreign, "gone:t")
    waiting = Asking(lambda: list(watcher.listen(timeout_s=DEADLINE_S)))

    wait_until(lambda: registered(host) == ["watcher:s"], "the watcher's tick")
    watcher.send("watcher:s", "end")
    watcher.close()
    waiting.outcome()

    assert after_maintenance == ["watcher:s"]


def test_an_active_client_is_never_passed_over_however_short_the_lifetime(connect: Connect) -> None:
    boss, worker = connect("boss:s", identity_ttl_s=0.4), connect("worker:s", identity_ttl_s=0.4)
    end = time.monotonic() + 1.5

    while time.monotonic() < end:
        worker.send("elsewhere:s", "note")
        assert boss.recipients(boss.send("*:s", "news").id) == ["worker:s"]


def test_a_client_that_came_back_meanwhile_keeps_its_registration(connect: Connect, foreign: Foreign) -> None:
    bus = connect("boss:s")
    bus.register("back:s")
    age(foreign, "back:s")
    rows = bus._store.rows

    def with_return(name: str, *args: Any) -> Any:
        found = rows(name, *args)
        if name == "unseen_identities":
            bus.register("back:s")
        return found

    bus._store.rows = with_return  # type: ignore[method-assign]
    forgetting.forget_unseen(bus._store, bus._doorbells, 86_400)

    assert registered(bus) == ["back:s", "boss:s"]


def test_the_past_sessions_of_a_bus_cost_its_broadcasts_nothing(connect: Connect, foreign: Foreign) -> None:
    boss = connect("boss:main", identity_ttl_s=86_400, broadcast_ttl_s=3600)
    for session in range(100):
        boss.register(f"worker:session-{session}")
        age(foreign, f"worker:session-{session}")
        boss.register("worker:today")
        boss.send("worker:*", "announcement")

    assert registered(boss) == ["boss:main", "worker:today"]
    assert foreign.value("SELECT count(*) FROM deliveries WHERE recipient <> 'worker:today'") == 0


# broadcast_ttl_s


def test_a_broadcast_expires_after_its_lifetime_and_other_mail_does_not(connect: Connect) -> None:
    boss = connect("boss:s", broadcast_ttl_s=60)
    boss.register("worker:s")

    sent = [
        boss.send("*:s", "news"),
        boss.send(["worker:*", "other:s"], "news"),
        *boss.send_many([{"to": "worker:*", "type": "news"}, {"to": "worker:s", "type": "job"}]),
        boss.send("*:s", "news", expires_in_s=7),
        boss.send("worker:s", "job"),
    ]

    lives = [
        message.expires_at and round((message.expires_at - message.created_at).total_seconds()) for message in sent
    ]
    assert lives == [60, 60, 60, None, 7, None]


@pytest.mark.parametrize("name", ["identity_ttl_s", "broadcast_ttl_s"])
@pytest.mark.parametrize("value", [0, -1, "1d", True, float("nan"), 1e12])
def test_a_bad_lifetime_is_refused_with_its_name(connect: Connect, name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"{name} is .* but must be a number of seconds above 0"):
        connect("boss:s", **{name: value})


# prune(unfinished=True)


@both_ways
def test_unfinished_mail_of_an_age_ends_and_younger_mail_stays(connect: Connect, foreign: Foreign) -> None:
    boss = connect("boss:s")
    old = [boss.send("gone:s", "job", report="undelivered"), boss.send("gone:s", "job", delay_s=3600)]
    young = boss.send("gone:s", "job")
    for message in old:
        foreign.execute(f"UPDATE messages SET created_at = created_at - {DAY_US} WHERE id = ?", message.id)

    dry = boss.prune(3600, unfinished=True, dry_run=True)
    done = boss.prune(3600, unfinished=True)

    assert (dry.expired, dry.messages) == (2, 0)
    assert (done.expired, done.messages, done.kept) == (2, 2, 0)
    assert next(id for id, _ in unfinished(foreign)) == young.id
    assert [message.body["message_id"] for message in boss.inbox()] == [old[0].id]


@both_ways
def test_an_open_request_is_not_unfinished_mail(connect: Connect) -> None:
    asker, oracle = connect("asker:s"), connect("oracle:s")
    asking = Asking(lambda: asker.request("oracle:s", "question", timeout_s=60))
    (question,) = wait_until(oracle.inbox, "the question")

    assert oracle.prune(0, unfinished=True).expired == 0
    oracle.reply(question, "answer", 42)

    assert asking.outcome().body == 42


def test_a_prune_of_unfinished_mail_leaves_nothing_of_300_past_sessions(connect: Connect, foreign: Foreign) -> None:
    boss = connect("boss:main")
    boss.register(*[f"worker:session-{number}" for number in range(300)])
    for _ in range(20):
        boss.send("worker:*", "announcement", "x" * 1000)

    done = boss.prune(0, unfinished=True)

    assert (done.expired, done.messages) == (6000, 19)
    assert unfinished(foreign) == []
