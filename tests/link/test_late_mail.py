"""Mail that has piled up during an outage: the relay rests between its transactions, so that local mail goes first."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from raven.link.envelope import Envelope
from raven.link.relay import work as work_module
from raven.link.relay.work import Arrival, Orders, Work
from scripts.harness.deadline import DEADLINE_S
from tests.exchange.carrier import Carrier, Host, bodies, envelope

WORKER = "worker:s"
ENVELOPES, FRAMES = 3, 200
AN_HOUR_US = 3_600_000_000


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[tuple[Host, Host]]:
    carrier = Carrier(tmp_path)
    yield carrier.add("alpha"), carrier.add("beta")
    carrier.close()


@pytest.fixture
def work(hosts: tuple[Host, Host]) -> Iterator[Work]:
    """Return the work of beta's relay; some envelopes of alpha, each as large as one transaction, wait for it."""
    alpha, beta = hosts
    alpha.at("boss:s").send_many(
        [{"to": WORKER, "type": "job", "body": number} for number in range(ENVELOPES * FRAMES)]
    )
    work = Work(lambda: beta.exchange, ignore, "beta", "run")
    work.open()
    for count in range(ENVELOPES):
        alpha.exchange.hand_over("beta", [WORKER], FRAMES)
        batch = alpha.exchange.frames("beta", count * FRAMES, FRAMES)
        assert len(batch.frames) == FRAMES
        work.receive("alpha", Arrival(Envelope(envelope(batch), None), (), 0))
    yield work
    work.close()
    beta.restart()


def ignore(orders: Orders) -> None:
    """Take the orders for the event loop, which this test has none of."""


def taken(host: Host) -> int:
    [(count,)] = host.sql("SELECT count(*) FROM messages")
    return count // FRAMES


def test_after_late_mail_the_relay_rests(hosts: tuple[Host, Host], work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    _, beta = hosts
    monkeypatch.setattr(work_module, "_REST_TIMES", 1e6)
    monkeypatch.setattr(work_module, "_MAX_REST_S", 100 * DEADLINE_S)
    work.set_offset(AN_HOUR_US)  # by the server's clock the messages are an hour old

    for _ in range(3):
        work.step()

    assert taken(beta) == 1


def test_late_mail_is_all_taken_in_in_its_order(hosts: tuple[Host, Host], work: Work) -> None:
    _, beta = hosts
    work.set_offset(AN_HOUR_US)

    rests = []
    while taken(beta) < ENVELOPES:
        rests.append(work.step())
        time.sleep(rests[-1])

    assert max(rests) <= 0.12
    assert bodies(beta.at(WORKER)) == [*range(ENVELOPES * FRAMES)]


def test_fresh_mail_is_taken_in_without_rests(hosts: tuple[Host, Host], work: Work) -> None:
    _, beta = hosts

    for _ in range(ENVELOPES):
        assert work.step() == 0 or taken(beta) == ENVELOPES

    assert bodies(beta.at(WORKER)) == [*range(ENVELOPES * FRAMES)]
