"""Claims over the socket: leases, late acks, released messages, and the leases that a connection remembers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from raven import BusClient, LeaseLostError
from raven.model.limits import MAX_PAGE_BYTES
from tests.rpc_server import Line, Served
from tests.support import Foreign, leased, wait_until

Serve = Callable[..., Served]
Connect = Callable[..., BusClient]
WORKER = "worker:s"


@pytest.fixture
def line(line: Line) -> Line:
    """Say hello as WORKER."""
    line.ask("hello", {"as": WORKER})
    return line


def claim(line: Line, **params: Any) -> list[Any]:
    messages: list[Any] = line.ask("claim", {"role": WORKER, **params})["messages"]
    return messages


def end_leases(foreign: Foreign) -> None:
    """End all leases by their time."""
    foreign.execute("UPDATE deliveries SET ready_at = 1 WHERE lease IS NOT NULL AND state < 2")


def test_a_claim_of_large_messages_takes_no_more_than_a_page(line: Line, boss: BusClient, foreign: Foreign) -> None:
    for _ in range(15):
        boss.send(WORKER, "job", "x" * 3_000_000)

    taken = claim(line, max=100)

    assert MAX_PAGE_BYTES - 3_100_000 < len(taken) * 3_000_000 <= MAX_PAGE_BYTES
    assert leased(foreign) == len(taken)


def test_a_lease_that_is_given_counts_over_any_connection(
    served: Served, line: Line, boss: BusClient, connect: Connect, foreign: Foreign
) -> None:
    first, second = boss.send(WORKER, "job"), boss.send(WORKER, "job")
    leases = [message["lease"] for message in claim(line, max=2)]
    with served.connect() as other:
        acked = other.ask("ack", {"id": first.id, "role": WORKER, "lease": leases[0]})
        end_leases(foreign)
        assert connect(WORKER).claim()

        error = other.error("ack", {"id": second.id, "role": WORKER, "lease": leases[1]})

    assert acked == {"acked": [first.id]}
    assert error["data"]["kind"] == "lease_lost"


def test_without_a_lease_the_ack_of_another_connection_is_the_word_of_the_mailbox_and_counts(
    served: Served, line: Line, boss: BusClient
) -> None:
    sent = boss.send(WORKER, "job")
    claim(line)

    with served.connect() as other:
        assert other.ask("ack", {"id": sent.id, "role": WORKER}) == {"acked": [sent.id]}
    assert line.error("ack", {"id": sent.id})["data"]["kind"] == "lease_lost"


@pytest.mark.parametrize("method", ["ack", "nack", "extend"])
def test_of_several_recipients_it_must_be_said_whose_delivery_is_meant(
    served: Served, boss: BusClient, method: str
) -> None:
    boss.send([WORKER, "other:s"], "job")

    with served.connect() as line:
        assert "give the acking address" in line.error(method, {"id": 1})["message"]


def test_a_claim_outlives_its_connection_until_its_lease_ends(
    served: Served, boss: BusClient, foreign: Foreign
) -> None:
    boss.send(WORKER, "job")
    with served.connect() as line:
        claim(line, lease_s=0.5)
    wait_until(lambda: served.ask("stats")["connections"] == 1, "the end of the connection")
    with served.connect() as line:
        taken = wait_until(lambda: claim(line), "the end of the lease")

    assert [message["attempts"] for message in taken] == [2]


# Pushed messages with manual acks


def subscribed(line: Line, window: int = 10) -> int:
    number: int = line.ask("subscribe", {"role": WORKER, "ack": "manual", "window": window})["subscription"]
    return number


def test_a_nack_of_what_was_pushed_frees_its_place_in_the_window(line: Line, boss: BusClient) -> None:
    sent = [boss.send(WORKER, "job") for _ in range(3)]
    subscribed(line, window=1)
    places = []
    for _ in sent:
        places.append(line.push()["message"]["id"])
        line.ask("nack", {"id": places[-1], "delay_s": 600})

    assert places == [message.id for message in sent]
    assert line.ask("stats")["unacked"] == 0


def test_what_is_nacked_without_a_delay_is_pushed_again_and_holds_its_place(line: Line, boss: BusClient) -> None:
    sent, next_one = boss.send(WORKER, "job", max_attempts=100), boss.send(WORKER, "job")
    subscribed(line, window=1)
    for attempt in range(1, 6):
        message = line.push()["message"]
        assert (message["id"], message["attempts"]) == (sent.id, attempt)
        line.ask("nack", {"id": sent.id})
    assert line.push()["message"]["id"] == sent.id

    assert (line.ask("stats")["unacked"], line.is_silent(0.2)) == (1, True)
    line.ask("ack", {"id": sent.id})
    assert line.push()["message"]["id"] == next_one.id


def test_a_late_ack_of_what_was_pushed_is_refused_and_frees_its_place(
    line: Line, boss: BusClient, connect: Connect
) -> None:
    sent, next_one = boss.send(WORKER, "job"), boss.send(WORKER, "job")
    subscribed(line, window=1)
    message = line.push()["message"]
    connect(WORKER).nack(sent.id)  # the owner's word, as `raven nack` gives it
    [taken] = wait_until(lambda: connect(WORKER).claim(lease_s=60), "the message")

    error = line.error("ack", {"id": message["id"]})

    assert (taken.id, error["data"]["kind"]) == (sent.id, "lease_lost")
    assert line.push()["message"]["id"] == next_one.id


def test_what_was_pushed_can_be_acked_by_a_direct_client_with_its_lease(
    line: Line, boss: BusClient, connect: Connect
) -> None:
    sent = boss.send(WORKER, "job")
    subscribed(line)
    lease = line.push()["message"]["lease"]

    with pytest.raises(LeaseLostError):
        connect(WORKER).ack(sent.id, lease=lease + 1)
    connect(WORKER).ack(sent.id, lease=lease)

    assert boss.read(sent.id).state == "acked"
