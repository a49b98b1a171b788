"""The link in the doctor's words: its relay, its server, and the other hosts that have mail."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from raven import BusClient
from raven.doctor.linux import proc
from raven.exchange.exchange import Exchange
from raven.model import clock
from tests.delivery.test_held import BETA, X, hold
from tests.doctor_process import assert_reports, run_checks
from tests.support import Foreign

SERVER = {"url": "nats://127.0.0.1:4222", "bytes": 5 << 20, "max_bytes": 1 << 30}
ALIVE = {"name": "alpha", "server": SERVER, "hosts": {BETA: {"is_alive": True, "heard_s": 1.5}}, "offset_us": 3000}


@pytest.fixture
def linked(db: str) -> str:
    """Return a bus that is linked to beta, which has one delivery."""
    with BusClient.at("boss:s", db) as boss:
        boss.send([X, "boss:s"], "job")
    exchange = Exchange(db, "alpha")
    assert exchange.hand_over(BETA, [X]) == 1
    exchange.close()
    return db


@contextmanager
def running(db: str, status: object) -> Iterator[None]:
    """Hold the lock of the relay, with a status that it has written."""
    folder = Path(f"{db}-bells")
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / "link.json"
    path.write_text(status if isinstance(status, str) else json.dumps(status), encoding="utf-8")
    path.chmod(0o600)
    descriptor = os.open(folder / "link.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def test_a_bus_without_a_link_has_no_such_check(db: str) -> None:
    BusClient.at("boss:s", db).close()

    assert "link" not in run_checks(db)


def test_a_relay_that_reaches_all_is_ok_and_named(linked: str) -> None:
    with running(linked, ALIVE):
        checks = run_checks(linked)

    assert checks["link"].verdict == checks["schema"].verdict == "ok"
    links = "links this bus to beta over nats://127.0.0.1:4222; other hosts have 1 deliveries"
    assert checks["link"].found == f"{proc.describe(os.getpid())} {links}"


def test_without_a_relay_it_says_what_waits(linked: str) -> None:
    assert_reports(run_checks(linked)["link"], "warn", "no relay of this bus runs:", "1 of beta", "start `raven link`")

    with running(linked, {**ALIVE, "ended_at": clock.now() - 7200 * 10**6, "failure": "no server at nats://x"}):
        pass
    assert_reports(run_checks(linked)["link"], "warn", "runs since 2 h (no server at nats://x)")


FAULTS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "silent": ({"hosts": {BETA: {"is_alive": False, "heard_s": 10_800}}}, [
        "beta has 1 unfinished deliveries", "was heard 3 h ago", "`raven link forget beta`",
    ]),
    "never heard": ({"hosts": {}}, ["beta has 1", "was not heard since the relay began"]),
    "no server": ({"server": None, "failure": "refused at nats://x"}, ["has no server: refused at nats://x"]),
    "full": ({"server": {**SERVER, "bytes": 1 << 30}}, ["the stream has 1,024 of 1,024 MiB", "nats stream edit"]),
    "large card": ({"card_bytes": 600 << 10}, ["the card of this host has 600 KiB", "sessions:"]),
    "clock ahead": ({"offset_us": 5_000_000}, ["the clock of the server is 5.0 s ahead of this host's", "NTP"]),
    "clock behind": ({"offset_us": -90_000_000}, ["90 s behind this host's"]),
    "trouble": ({"trouble": {"take": "the disk is full"}}, ["the relay has trouble: the disk is full"]),
    "dropped": ({"dropped_cards": {"another bus": 3}}, ["has dropped cards of other hosts: another bus (3)"]),
}  # fmt: skip


@pytest.mark.parametrize(("told", "words"), FAULTS.values(), ids=FAULTS)
def test_each_fault_that_the_relay_tells_has_its_remedy(linked: str, told: dict[str, Any], words: list[str]) -> None:
    with running(linked, {**ALIVE, **told}):
        assert_reports(run_checks(linked)["link"], "warn", *words)


ODD = [
    "",
    "[1]",
    "{",
    "[" * 100_000,
    '{"hosts": 5, "offset_us": "x", "server": {"bytes": true}}',
    '{"trouble": {"": []}}',
]


@pytest.mark.parametrize("status", ODD)
def test_a_status_that_makes_no_sense_is_no_fault_of_the_link(linked: str, status: str) -> None:
    with running(linked, status):
        assert_reports(run_checks(linked)["link"], "warn", "beta has 1 unfinished deliveries")


def test_the_status_of_another_writer_does_not_count(linked: str) -> None:
    with running(linked, {**ALIVE, "trouble": {"a": "of a stranger"}}):
        Path(f"{linked}-bells/link.json").chmod(0o666)
        assert "of a stranger" not in run_checks(linked)["link"].found


def test_a_hold_of_an_unknown_host_is_found_and_its_remedy_ends_it(linked: str, foreign: Foreign) -> None:
    hold(foreign, 1, "boss:s", lease=5)
    with running(linked, ALIVE):
        assert_reports(
            run_checks(linked)["link"], "warn", "1 deliveries wait for a host that this bus does not know",
            "`raven nack 1 -a boss:s`",
        )  # fmt: skip
        with BusClient.at("boss:s", linked) as boss:
            boss.nack(1)
            assert [message.id for message in boss.claim()] == [1]
        assert run_checks(linked)["link"].verdict == "ok"


def test_triggers_and_an_index_that_are_missing_or_differ_are_found_and_mended_by_the_next_link(
    linked: str, foreign: Foreign
) -> None:
    foreign.execute("DROP TRIGGER link_deleted")
    foreign.execute("DROP INDEX link_foreign")
    foreign.execute("DROP TRIGGER link_changed")
    foreign.execute("CREATE TRIGGER link_changed AFTER UPDATE ON deliveries BEGIN SELECT 1; END")
    with running(linked, ALIVE):
        checks = run_checks(linked)
        assert_reports(checks["link"], "fail", "schema: link_deleted, link_foreign", "start `raven link`")
        assert_reports(checks["schema"], "warn", "the trigger link_changed differs from raven's own", "`raven link`")
        Exchange(linked, "alpha").close()
        checks = run_checks(linked)

    assert checks["link"].verdict == checks["schema"].verdict == "ok"
