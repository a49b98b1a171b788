"""A filtered read of the log looks at a bounded number of messages at a time."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from raven import BusClient
from raven.host.bus import HostedBus
from raven.query import log
from tests.rpc_server import Served
from tests.support import Foreign

NOTE = {"to": "critic:s", "type": "note"}


@pytest.fixture
def boss(connect: Callable[..., BusClient], monkeypatch: pytest.MonkeyPatch) -> BusClient:
    """Send one message to worker:s among 60 of others, where a window has 10."""
    monkeypatch.setattr(log, "WINDOW", 10)
    boss = connect("boss:s")
    boss.send_many([*[NOTE] * 25, {"to": "worker:s", "type": "note"}, *[NOTE] * 35])
    return boss


def test_a_step_ends_with_its_window(boss: BusClient, hosted: Callable[..., HostedBus]) -> None:
    cursor, steps = hosted("raven:test").log(role="worker:s"), []
    while not cursor.is_at_end:
        steps.append([message.id for message in cursor.step()])

    assert steps == [[], [], [26], [], [], [], []]
    assert cursor.step() == []


def test_a_page_goes_on_to_the_next_message(boss: BusClient, hosted: Callable[..., HostedBus]) -> None:
    cursor = hosted("raven:test").log(role="worker:s")

    assert [message.id for message in cursor.page()] == [26]
    assert cursor.page() == []
    boss.send("worker:s", "note")
    assert [message.id for message in cursor.page()] == [62]


def test_a_gap_in_the_ids_is_passed_at_once(
    boss: BusClient, hosted: Callable[..., HostedBus], foreign: Foreign
) -> None:
    for message in boss.tail(follow=False):
        if message.id < 50 and message.recipient == "critic:s":
            hosted("critic:s").ack(message.id)
    boss.send("worker:s", "note")
    # `prune` keeps what has finished within a minute.
    foreign.execute("UPDATE deliveries SET finished_at = finished_at - 120000000")
    foreign.execute("UPDATE messages SET created_at = created_at - 120000000")
    hosted("boss:s").prune(0)
    cursor = hosted("raven:test").log(from_id=27, role="worker:s")
    steps = []
    while not cursor.is_at_end:
        steps.append([message.id for message in cursor.step()])

    assert steps == [[], [62]]


@pytest.mark.parametrize("follow", [True, False])
def test_a_tail_over_the_socket_finds_all_that_it_may_see(
    boss: BusClient, serve: Callable[..., Served], follow: bool
) -> None:
    with serve("--as", "worker:s").connect() as line:
        line.ask("tail", {"follow": follow})
        assert line.push()["message"]["id"] == 26
        if follow:
            boss.send_many([NOTE] * 30)
            boss.send("worker:s", "note")
            assert line.push()["message"]["id"] == 92
        else:
            assert line.push()["reason"] == "done"
