"""The doorbell of receipts: mail from another host rings it as it is handled, mail between agents here does not."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from raven.exchange.news import ReceiptListener
from tests.exchange.carrier import Carrier, Host, receipt

WORKER, LOCAL = "worker:s", "local:s"


@pytest.fixture
def receipts(beta: Host) -> Iterator[ReceiptListener]:
    receipts = beta.exchange.receipt_listener()
    yield receipts
    receipts.close()


def doors(host: Host) -> list[str]:
    """Return the recipients whose receipts ring."""
    folder = f"{host.db}-bells/*0doors"
    return sorted(name.removeprefix("door-") for name in os.listdir(folder)) if os.path.exists(folder) else []


def send(carrier: Carrier, alpha: Host, beta: Host, *recipients: str) -> int:
    """Send a message on alpha that beta takes in; return its id on alpha."""
    sent = alpha.at("boss:s").send(list(recipients), "job")
    assert alpha.exchange.hand_over(beta.name, recipients) == 1
    carrier.settle()
    return sent.id


def handle(host: Host, address: str) -> None:
    (message,) = host.at(address).claim()
    host.at(address).ack(message.id)


def test_mail_of_another_host_rings_as_it_is_handled_and_mail_of_this_host_does_not(
    carrier: Carrier, alpha: Host, beta: Host, receipts: ReceiptListener
) -> None:
    beta.at("boss:s").send(LOCAL, "job")
    handle(beta, LOCAL)
    assert not receipts.wait(0)

    sent = send(carrier, alpha, beta, WORKER)

    assert receipts.wait(0)  # it may have been handled before its door was there
    (message,) = beta.at(WORKER).claim()
    assert receipts.wait(0)
    beta.at("boss:s").send(LOCAL, "job")
    handle(beta, LOCAL)
    assert not receipts.wait(0)
    beta.at(WORKER).ack(message.id)
    assert receipts.wait(0)
    carrier.settle()
    assert receipt(alpha, sent).state == "acked"


def test_doors_stand_while_mail_of_other_hosts_is_open_also_after_a_restart(
    carrier: Carrier, alpha: Host, beta: Host, receipts: ReceiptListener
) -> None:
    send(carrier, alpha, beta, WORKER, "late:s")
    beta.at("boss:s").send(LOCAL, "job")
    assert doors(beta) == ["late:s", WORKER]
    handle(beta, WORKER)
    receipts.tick()
    assert doors(beta) == ["late:s", WORKER]  # for a moment more mail is likely
    receipts.tick()
    assert doors(beta) == ["late:s"]

    receipts.close()
    assert doors(beta) == []
    beta.restart()
    again = beta.exchange.receipt_listener()
    assert doors(beta) == ["late:s"]
    handle(beta, "late:s")
    assert again.wait(0)
    again.tick()
    assert doors(beta) == []
    send(carrier, alpha, beta, WORKER)
    assert doors(beta) == [WORKER]
    again.close()


def test_dead_mail_of_another_host_that_is_requeued_here_has_a_door_from_the_next_tick_on(
    carrier: Carrier, alpha: Host, beta: Host, receipts: ReceiptListener
) -> None:
    sent = alpha.at("boss:s").send(WORKER, "job", max_attempts=1)
    alpha.exchange.hand_over(beta.name, [WORKER])
    carrier.settle()
    (message,) = beta.at(WORKER).claim()
    beta.at(WORKER).nack(message.id)
    for _ in range(2):
        receipts.tick()
    assert doors(beta) == []

    beta.at(WORKER).requeue(message.id)
    receipts.tick()
    receipts.drain()
    handle(beta, WORKER)

    assert receipts.wait(0)
    carrier.settle()
    assert receipt(alpha, sent.id).state == "acked"


def test_private_reply_addresses_share_a_door(
    carrier: Carrier, alpha: Host, beta: Host, receipts: ReceiptListener
) -> None:
    addresses = [f"boss+{number:016x}:s" for number in range(3)]

    receipts.expect(addresses)

    assert len(doors(beta)) == 1
