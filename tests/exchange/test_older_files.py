"""Older files: one host's file is put back from a copy; what the other has is handled once, and nothing is lost."""

from __future__ import annotations

import pytest

from raven.exchange.values import Confirmation
from tests.exchange.carrier import Carrier, Host, bodies, receipt

WORKER = "worker:s"


class Time:
    """The monotonic clock by which an old word of a host counts."""

    def __init__(self) -> None:
        self.now = 0.0


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr("raven.exchange.confirmations.monotonic", lambda: time.now)
    return time


def send(carrier: Carrier, alpha: Host, beta: Host, *sent: object) -> None:
    for body in sent:
        alpha.at("boss:s").send(WORKER, "job", body)
    alpha.exchange.hand_over("beta", [WORKER])


def repeat_word(carrier: Carrier, time: Time, receiver: Host, sender: Host) -> None:
    """Let the receiver say for 15 s which frame it has, as its card does."""
    for _ in range(4):
        hosts = receiver.exchange.hosts()
        said = hosts[sender.name].confirmation if sender.name in hosts else Confirmation(0, 0, 0)
        sender.exchange.confirmed(receiver.name, said)
        sender.exchange.flush()
        time.now += 5


def everything_is_acked(carrier: Carrier, alpha: Host) -> bool:
    carrier.settle()
    return alpha.sql("SELECT DISTINCT state FROM deliveries") == [(2,)]


def test_the_receivers_older_file_gets_again_what_it_has_lost(
    carrier: Carrier, alpha: Host, beta: Host, time: Time
) -> None:
    send(carrier, alpha, beta, *range(5))
    carrier.settle()
    beta.save()
    send(carrier, alpha, beta, *range(5, 25))
    carrier.settle()
    beta.restore()

    repeat_word(carrier, time, beta, alpha)
    carrier.settle()

    assert bodies(beta.at(WORKER)) == [*range(25)]
    assert everything_is_acked(carrier, alpha)


def test_a_late_word_alone_begins_nothing_anew(carrier: Carrier, alpha: Host, beta: Host, time: Time) -> None:
    send(carrier, alpha, beta, 1)
    early = carrier.bring(alpha, beta).confirmation
    send(carrier, alpha, beta, 2)
    last = carrier.bring(alpha, beta).confirmation
    alpha.exchange.flush()
    for _ in range(10):
        alpha.exchange.confirmed("beta", early)
        assert alpha.exchange.flush() == set()
        time.now += 5
        alpha.exchange.confirmed("beta", last)
        assert alpha.exchange.flush() == set()


def test_a_word_on_an_epoch_that_no_host_has_does_not_make_numbers_that_no_host_takes(
    carrier: Carrier, alpha: Host, beta: Host
) -> None:
    send(carrier, alpha, beta, 1)
    for epoch in ((1 << 59) + 1, 1 << 60, (1 << 60) + 1, 1 << 62):
        alpha.exchange.confirmed("beta", Confirmation(epoch, 0, 0))
        assert alpha.exchange.flush() == set()

    # The largest word that counts, and one on the epoch that this made.
    for said in (Confirmation(1 << 59, 0, 0), Confirmation((1 << 59) + 1, 5, 5)):
        alpha.exchange.confirmed("beta", said)
        assert alpha.exchange.flush() == {"beta"}

    carrier.settle()
    assert bodies(beta.at(WORKER)) == [1]
    assert everything_is_acked(carrier, alpha)


def test_the_senders_older_file_sends_none_twice_and_loses_no_new_one(
    carrier: Carrier, alpha: Host, beta: Host, time: Time
) -> None:
    send(carrier, alpha, beta, *range(10))
    carrier.settle()
    alpha.save()
    send(carrier, alpha, beta, "lost with the file")
    carrier.settle()
    done = bodies(beta.at(WORKER))
    carrier.settle()
    alpha.restore()
    send(carrier, alpha, beta, *range(10, 20))

    repeat_word(carrier, time, beta, alpha)
    repeat_word(carrier, time, alpha, beta)
    carrier.settle()
    done += bodies(beta.at(WORKER))

    assert done == [*range(10), "lost with the file", *range(10, 20)]
    assert everything_is_acked(carrier, alpha)


def test_numbers_that_are_given_out_a_second_time_are_noticed_by_their_tags(
    carrier: Carrier, alpha: Host, beta: Host, time: Time
) -> None:
    send(carrier, alpha, beta, *range(20))
    carrier.settle()
    alpha.save()
    send(carrier, alpha, beta, *["lost"] * 20)
    carrier.settle()
    bodies(beta.at(WORKER))
    alpha.restore()
    send(carrier, alpha, beta, *range(30))  # numbers 21 to 50, of which beta has had 21 to 40

    taken = carrier.bring(alpha, beta)

    assert taken.is_behind
    assert alpha.exchange.flush() == {"beta"}
    carrier.settle()
    assert bodies(beta.at(WORKER)) == [*range(30)]
    assert everything_is_acked(carrier, alpha)


def test_news_that_was_lost_with_the_senders_file_is_told_again(
    carrier: Carrier, alpha: Host, beta: Host, time: Time
) -> None:
    send(carrier, alpha, beta, 1)
    carrier.settle()
    alpha.save()
    bodies(beta.at(WORKER))
    carrier.settle()
    alpha.restore()
    assert receipt(alpha, 1).state == "sent"

    repeat_word(carrier, time, alpha, beta)
    carrier.settle()
    assert everything_is_acked(carrier, alpha)


def test_a_host_with_a_new_file_and_a_clock_behind_gets_all_that_it_has_lost(
    carrier: Carrier, alpha: Host, beta: Host, time: Time
) -> None:
    send(carrier, alpha, beta, 1, 2)
    carrier.settle()
    beta.sql("UPDATE link_hosts SET epoch = 1, their_epoch = 0, received = 0, last_tag = 0, sent = 0, confirmed = 0")
    for table in ("link_in", "link_news", "link_out", "deliveries", "messages"):
        beta.sql(f"DELETE FROM {table}")

    repeat_word(carrier, time, beta, alpha)
    carrier.settle()
    bodies(beta.at(WORKER))
    carrier.settle()
    repeat_word(carrier, time, alpha, beta)

    assert everything_is_acked(carrier, alpha)


def test_a_dead_letter_of_the_other_host_stays_dead_when_numbers_begin_anew(
    carrier: Carrier, alpha: Host, beta: Host, time: Time
) -> None:
    alpha.at("boss:s").send(WORKER, "job", max_attempts=1)
    alpha.exchange.hand_over("beta", [WORKER])
    carrier.settle()
    alpha.save()
    (message,) = beta.at(WORKER).claim()
    beta.at(WORKER).nack(message.id)
    carrier.settle()
    alpha.restore()
    alpha.exchange.confirmed("beta", Confirmation(beta.exchange.hosts()["alpha"].their_epoch + 1, 0, 0))
    assert alpha.exchange.flush() == {"beta"}

    repeat_word(carrier, time, alpha, beta)
    carrier.settle()
    repeat_word(carrier, time, alpha, beta)
    carrier.settle()

    assert receipt(alpha, 1).state == "dead"
    assert len(beta.at(WORKER).dead()) == 1
