"""Hosts: the addresses that they show each other, the triggers of a linked bus, and bad arguments."""

from __future__ import annotations

from pathlib import Path
from threading import Thread
from typing import Any

import apsw
import pytest

from raven import BusClient, ConfigError, InputError
from raven.exchange.exchange import Exchange
from raven.exchange.overview import overview
from raven.exchange.schema import definitions
from raven.exchange.values import Home
from raven.store.sql import SQL
from tests.exchange.carrier import Carrier, Host

WORKER = "worker:s"


def test_a_bus_gets_its_triggers_and_its_id_from_the_first_link_and_keeps_them(db: str) -> None:
    BusClient.at("boss:s", db).close()

    def triggers() -> set[str]:
        with apsw.Connection(db) as connection:
            return {row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'")}

    assert not triggers() & definitions().keys()
    with Exchange(db, "alpha") as first:
        bus_id = first.bus_id
    with apsw.Connection(db) as connection:
        connection.execute("DROP TRIGGER link_changed")
        connection.execute("DROP TRIGGER link_deleted")
        connection.execute("CREATE TRIGGER link_deleted AFTER DELETE ON messages BEGIN SELECT 1; END")
    with Exchange(db, "alpha") as second:
        assert second.bus_id == bus_id

    assert definitions().keys() - {"link_foreign"} == {"link_changed", "link_deleted"} <= triggers()
    with Exchange(f"{db}.other", "alpha") as other:
        assert other.bus_id != bus_id


def test_a_home_has_the_shared_addresses_with_their_loops_and_mail(carrier: Carrier) -> None:
    alpha = carrier.add("alpha", sessions=["s"])
    alpha.at("idle:s").register("only:s")
    alpha.at("private:t")
    alpha.at("boss:s").send(["idle:s", "only:s"], "job")
    alpha.exchange.hand_over("beta", ["only:s"])
    alpha.exchange.show("beta", {"there:s": Home(5, 1, 1, True)})
    loop = alpha.at("loop:s").listen()
    waiting = Thread(target=lambda: list(loop))
    waiting.start()
    try:
        home = alpha.exchange.home()
        while not home["loop:s"].waiting:
            waiting.join(0.005)
            home = alpha.exchange.home()
    finally:
        alpha.at("loop:s").close()
        waiting.join(30)

    assert home.keys() == {"boss:s", "idle:s", "loop:s", "only:s"}
    assert [home[a].pending for a in ("idle:s", "only:s")] == [1, 0]
    assert [home[a].waiting for a in ("idle:s", "loop:s")] == [0, 1]
    assert not home["only:s"].used


def test_a_host_shows_its_addresses_and_takes_none_of_this_host_away(carrier: Carrier, alpha: Host) -> None:
    alpha.at("boss:s").register("own:s")
    now = alpha.exchange.home()["boss:s"].seen

    def shown() -> dict[str, Any]:
        return dict(alpha.sql("SELECT address, host FROM identities ORDER BY address"))

    card = {name: Home(now, 0, 0, True) for name in ("a:s", "b:s", "own:s", "*:s", "x", f"r+{'0' * 16}:s", "c:s\n")}
    alpha.exchange.show("beta", card)
    assert shown() == {"a:s": "beta", "b:s": "beta", "boss:s": None, "own:s": None}

    # The address moves with its last use; a host that shows it no more takes only its own away.
    alpha.exchange.show("gamma", {"a:s": Home(now + 60_000_000, 0, 0, True), "b:s": Home(now, 0, 0, True)})
    assert shown() == {"a:s": "gamma", "b:s": "beta", "boss:s": None, "own:s": None}
    alpha.exchange.show("beta", {})
    assert shown() == {"a:s": "gamma", "boss:s": None, "own:s": None}

    alpha.at("a:s")
    alpha.exchange.show("gamma", {})
    assert shown()["a:s"] is None


def test_maintenance_unregisters_the_addresses_that_the_setting_says(carrier: Carrier) -> None:
    for name, options, left in (("alpha", {"identity_ttl_s": 60}, ["new:s"]), ("beta", {}, ["new:s", "old:s"])):
        host = carrier.add(name, **options)
        host.at("new:s").register("old:s")
        host.sql("UPDATE identities SET last_seen = last_seen - 100000000 WHERE address = 'old:s'")
        host.exchange.maintain()
        assert sorted(host.exchange.home()) == left


def test_mail_of_other_hosts_is_counted_in_its_own_index(alpha: Host) -> None:
    values = {"addresses": "[]", "now": 0, "returns": 3}
    with apsw.Connection(alpha.db) as connection:
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {SQL['count_foreign']}", values)]
    assert "SEARCH d USING INDEX link_foreign (recipient=?)" in plan


def test_an_overview_counts_frames_and_the_deliveries_of_each_host(carrier: Carrier, alpha: Host, beta: Host) -> None:
    first = alpha.at("boss:s").send(WORKER, "job")
    alpha.at("boss:s").send(WORKER, "job")
    alpha.exchange.hand_over("beta", [WORKER])
    carrier.bring(alpha, beta)
    alpha.exchange.flush()

    (one,) = alpha.exchange.overview()
    assert (one.host, one.sent, one.confirmed, one.held, one.window_used) == ("beta", 2, 2, 2, 0)
    assert one.oldest_held_at == round(first.created_at.timestamp() * 1e6)
    assert overview(beta.at(WORKER)._store)[0].received == 2


def test_with_a_message_goes_its_origin_and_the_bus_stays_sound(carrier: Carrier, alpha: Host, beta: Host) -> None:
    alpha.at("boss:s").send_many([{"to": WORKER, "type": "job"} for _ in range(3)])
    alpha.exchange.hand_over("beta", [WORKER])
    carrier.settle()
    for message in beta.at(WORKER).claim(3):
        beta.at(WORKER).ack(message.id)
    carrier.settle()

    beta.at(WORKER).prune(0, grace_s=0)

    assert beta.sql("SELECT count(*) FROM link_in") == beta.sql("SELECT count(*) FROM messages") == [(1,)]
    assert beta.sql("PRAGMA integrity_check") == [("ok",)]


@pytest.mark.parametrize(
    ("call", "wrong"),
    [
        (lambda path: Exchange(path, "Alpha"), "'Alpha'"),
        (lambda path: Exchange(path, ""), "''"),
        (lambda path: Exchange(path, "a" * 41), "aaa"),
        (lambda path: Exchange(path, 5), "5"),
        (lambda path: Exchange(path, "alpha", window=0), "window 0"),
        (lambda path: Exchange(path, "alpha", window_bytes="big"), "window_bytes 'big'"),
        (lambda path: Exchange(path, "alpha", identity_ttl_s=-1), "identity_ttl_s is -1"),
        (lambda path: Exchange(path, "alpha").hand_over("be.ta", ["w:s"]), "'be.ta'"),
        (lambda path: Exchange(path, "alpha").hand_over("beta", ["w:s"], max=0), "max 0"),
        (lambda path: Exchange(path, "alpha").take_in("be/ta", []), "'be/ta'"),
        (lambda path: Exchange(path, "alpha").hand_over("alpha", ["w:s"]), "'alpha' is this host"),
        (lambda path: Exchange(path, "alpha").forget("*"), r"'\*'"),
        (lambda path: Exchange(path, "alpha").show("", {}), "''"),
    ],
)
def test_a_bad_argument_is_refused_by_its_value(tmp_path: Path, call: Any, wrong: str) -> None:
    with pytest.raises((ConfigError, InputError), match=wrong):
        call(str(tmp_path / "bus.db"))
