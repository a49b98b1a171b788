"""News: what becomes of a delivery on another host shows on the host that sent it, and the other way round."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from raven import UndeliveredError
from tests.exchange.carrier import Carrier, Host, bodies, receipt, states

WORKER = "worker:s"


def hold(carrier: Carrier, alpha: Host, beta: Host, **options: object) -> int:
    """Send a message on alpha that beta takes in; return its id on alpha."""
    sent = alpha.at("boss:s").send(WORKER, "job", "body", **options)  # type: ignore[arg-type]
    assert alpha.exchange.hand_over(beta.name, [WORKER]) == 1
    carrier.settle()
    return sent.id


def die(host: Host) -> None:
    (message,) = host.at(WORKER).claim()
    host.at(WORKER).nack(message.id, reason="no good")


def let_expire(host: Host) -> None:
    host.sql("UPDATE deliveries SET expires_at = 1")
    host.at("other:s").dead()


@pytest.mark.parametrize(
    ("act", "state", "attempts", "reason"),
    [
        (lambda beta: beta.at(WORKER).inbox(), "delivered", 0, None),
        (lambda beta: beta.at(WORKER).claim(), "delivered", 1, None),
        (lambda beta: bodies(beta.at(WORKER)), "acked", 1, None),
        (die, "dead", 1, "no good"),
        (let_expire, "expired", 0, None),
    ],
)
def test_a_receipt_shows_the_state_on_the_other_host(
    carrier: Carrier,
    alpha: Host,
    beta: Host,
    act: Callable[[Host], object],
    state: str,
    attempts: int,
    reason: str | None,
) -> None:
    alpha.exchange.offset_us, beta.exchange.offset_us = 1_000_000, -1_000_000
    sent = hold(carrier, alpha, beta, report="undelivered", max_attempts=1)

    act(beta)
    carrier.settle()

    shown, there = receipt(alpha, sent), beta.at(WORKER).receipts(1)[0]
    assert (shown.state, shown.attempts, shown.reason) == (state, attempts, reason)
    for mine, theirs in ((shown.delivered_at, there.delivered_at), (shown.finished_at, there.finished_at)):
        assert (mine is None) == (theirs is None)
        if mine and theirs:
            assert mine == theirs - timedelta(seconds=2)
    reports = alpha.at("boss:s").inbox()
    assert [one.body["state"] for one in reports] == ([state] if state in ("dead", "expired") else [])
    if reports:
        with pytest.raises(UndeliveredError):
            alpha.at("boss:s").wait_receipt(sent, timeout_s=0)


def test_a_requeue_where_it_died_is_the_same_delivery_again_on_both_hosts(
    carrier: Carrier, alpha: Host, beta: Host
) -> None:
    sent = hold(carrier, alpha, beta, max_attempts=1)
    die(beta)
    carrier.settle()

    beta.at(WORKER).requeue(1)
    carrier.settle()
    again = receipt(alpha, sent)
    assert (again.state, again.host) == ("sent", "beta")
    assert alpha.exchange.outgoing(full=True) == []

    assert bodies(beta.at(WORKER)) == ["body"]
    carrier.settle()
    assert receipt(alpha, sent).state == "acked"


def test_a_requeue_where_it_was_sent_revives_it_where_it_died(carrier: Carrier, alpha: Host, beta: Host) -> None:
    sent = hold(carrier, alpha, beta, max_attempts=1)
    die(beta)
    carrier.settle()

    alpha.at("boss:s").requeue(sent)
    alpha.exchange.hand_over("beta", [WORKER])
    carrier.settle()

    assert beta.sql("SELECT count(*) FROM messages") == [(1,)]
    assert beta.at(WORKER).dead() == []
    assert bodies(beta.at(WORKER)) == ["body"]
    carrier.settle()
    assert receipt(alpha, sent).state == "acked"


def test_a_requeue_that_goes_to_another_host_leaves_no_dead_letter_to_requeue_a_second_time(
    carrier: Carrier, alpha: Host, beta: Host
) -> None:
    gamma = carrier.add("gamma")
    sent = hold(carrier, alpha, beta, max_attempts=1)
    die(beta)
    carrier.settle()

    alpha.at("boss:s").requeue(sent)
    alpha.exchange.hand_over("gamma", [WORKER])
    carrier.settle()

    assert beta.at(WORKER).dead() == []
    assert bodies(gamma.at(WORKER)) == ["body"]
    carrier.settle()
    assert receipt(alpha, sent).state == "acked"


@pytest.mark.parametrize("by_hand", ["ack", "nack"])
def test_a_delivery_that_is_finished_or_released_by_hand_is_withdrawn_there(
    carrier: Carrier, alpha: Host, beta: Host, by_hand: str
) -> None:
    sent = hold(carrier, alpha, beta)

    getattr(alpha.at(WORKER), by_hand)(sent)
    carrier.settle()

    assert bodies(beta.at(WORKER)) == []
    assert beta.sql("SELECT state, reason FROM deliveries") == [
        (3, "withdrawn by alpha: it was finished or released there")
    ]
    assert receipt(alpha, sent).state == ("acked" if by_hand == "ack" else "sent")
    assert alpha.sql("SELECT frame FROM deliveries") == [(None,)]
    assert bodies(alpha.at(WORKER)) == ([] if by_hand == "ack" else ["body"])


def test_a_released_delivery_may_go_to_the_same_host_again(carrier: Carrier, alpha: Host, beta: Host) -> None:
    sent = hold(carrier, alpha, beta)
    alpha.at(WORKER).nack(sent)
    alpha.exchange.hand_over("beta", [WORKER])
    carrier.settle()

    assert bodies(beta.at(WORKER)) == ["body"]
    carrier.settle()
    assert receipt(alpha, sent).state == "acked"


def test_a_delivery_in_hand_stays_there_when_it_is_withdrawn(carrier: Carrier, alpha: Host, beta: Host) -> None:
    sent = hold(carrier, alpha, beta)
    (message,) = beta.at(WORKER).claim()

    alpha.at(WORKER).ack(sent)
    carrier.settle()

    beta.at(WORKER).ack(message.id)
    carrier.settle()
    assert beta.sql("SELECT state FROM deliveries") == alpha.sql("SELECT state FROM deliveries") == [(2,)]


def test_a_change_that_meets_the_news_of_an_end_leaves_the_end_as_it_is(
    carrier: Carrier, alpha: Host, beta: Host
) -> None:
    sent = hold(carrier, alpha, beta, max_attempts=1)
    die(beta)

    alpha.sql("UPDATE deliveries SET expires_at = 1")
    beta.exchange.tell()
    carrier.bring(beta, alpha)
    carrier.settle()

    assert receipt(alpha, sent).state == "dead"
    assert beta.sql("SELECT state FROM deliveries") == [(4,)]


def test_a_request_that_is_withdrawn_expires_there_and_takes_no_reply(
    carrier: Carrier, alpha: Host, beta: Host
) -> None:
    with pytest.raises(TimeoutError):
        alpha.at("boss:s").request(WORKER, "ask", timeout_s=0.01)
    alpha.sql("UPDATE messages SET expires_at = NULL")
    alpha.sql("UPDATE deliveries SET state = 0, finished_at = NULL, expires_at = NULL")
    alpha.exchange.hand_over("beta", [WORKER])
    carrier.settle()
    (question,) = beta.at(WORKER).claim()
    beta.at(WORKER).nack(question.id)

    alpha.sql("UPDATE deliveries SET expires_at = 1")
    carrier.settle()

    assert bodies(beta.at(WORKER)) == []
    assert receipt(alpha, 1).state == "expired"
    with pytest.raises(Exception, match="expired"):
        beta.at(WORKER).reply(question, "late")


def test_mail_goes_back_to_its_host_at_most_three_times(carrier: Carrier, alpha: Host, beta: Host) -> None:
    sent = hold(carrier, alpha, beta)
    for number in range(4):
        assert [(one.address, one.ready) for one in beta.exchange.incoming()] == ([(WORKER, 1)] if number < 3 else [])
        assert beta.exchange.give_back([WORKER]) == ({"alpha"} if number < 3 else set())
        carrier.settle()
        if number < 3:
            (leaving,) = alpha.exchange.outgoing(full=True)
            assert receipt(alpha, sent).reason == "returned by beta: its recipient uses another host"
            alpha.exchange.hand_over("beta", [leaving.address])
            carrier.settle()

    assert bodies(beta.at(WORKER)) == ["body"]
    carrier.settle()
    assert receipt(alpha, sent).state == "acked"
    assert beta.sql("SELECT count(*) FROM messages") == [(1,)]


def test_a_delivery_that_was_requeued_there_and_given_back_is_ready_again(
    carrier: Carrier, alpha: Host, beta: Host
) -> None:
    sent = hold(carrier, alpha, beta, max_attempts=1)
    die(beta)
    carrier.settle()
    beta.at(WORKER).requeue(1)
    beta.exchange.give_back([WORKER])
    carrier.settle()

    assert (receipt(alpha, sent).state, receipt(alpha, sent).host) == ("sent", None)
    assert bodies(alpha.at(WORKER)) == ["body"]


def test_a_dead_letter_that_was_purged_there_can_be_requeued_here(carrier: Carrier, alpha: Host, beta: Host) -> None:
    sent = hold(carrier, alpha, beta, max_attempts=1, report="undelivered")
    die(beta)
    carrier.settle()
    beta.at(WORKER).purge_dead()
    carrier.settle()
    assert receipt(alpha, sent).state == "dead"
    assert len(alpha.at("boss:s").inbox()) == 1

    alpha.at("boss:s").requeue(sent)
    alpha.exchange.hand_over("beta", [WORKER])
    carrier.settle()

    assert bodies(beta.at(WORKER)) == ["body"]


def test_a_drain_gives_all_ready_mail_back_and_leaves_what_is_in_hand(
    carrier: Carrier, alpha: Host, beta: Host
) -> None:
    gamma = carrier.add("gamma")
    for _ in range(3):
        hold(carrier, alpha, beta)
    beta.sql("UPDATE link_in SET returns = 3")
    (message,) = beta.at(WORKER).claim()

    assert beta.exchange.give_back_all() == 2
    carrier.settle()

    alpha.exchange.hand_over("gamma", [WORKER])
    carrier.settle()
    assert len(bodies(gamma.at(WORKER))) == 2
    beta.at(WORKER).ack(message.id)
    carrier.settle()
    assert [row[0] for row in alpha.sql("SELECT state FROM deliveries")] == [2, 2, 2]


def test_the_attempts_of_a_delivery_count_on_when_it_changes_its_host(
    carrier: Carrier, alpha: Host, beta: Host
) -> None:
    gamma = carrier.add("gamma")
    sent = hold(carrier, alpha, beta, max_attempts=2)
    die(beta)
    beta.exchange.give_back([WORKER])
    carrier.settle()
    alpha.exchange.hand_over("gamma", [WORKER])
    carrier.settle()
    die(gamma)
    carrier.settle()

    assert (receipt(alpha, sent).state, receipt(alpha, sent).attempts) == ("dead", 2)


def test_news_of_an_earlier_hold_says_nothing_of_a_later_one(carrier: Carrier, alpha: Host, beta: Host) -> None:
    sent = hold(carrier, alpha, beta)
    beta.exchange.give_back([WORKER])
    stale = carrier.frames(beta, alpha)
    carrier.settle()
    alpha.exchange.hand_over("beta", [WORKER])
    carrier.settle()

    forged = stale._replace(tag_before=0, epoch=stale.epoch + 1)
    carrier.bring(beta, alpha, forged, confirms=False)

    assert receipt(alpha, sent).host == "beta"
    assert alpha.exchange.outgoing(full=True) == []


@pytest.mark.parametrize("way", ["ROLLBACK", "ABORT", "FAIL", "IGNORE", "REPLACE"])
def test_the_first_change_of_a_hold_stays_noted_whatever_the_conflict_clause_of_the_next(
    carrier: Carrier, alpha: Host, way: str
) -> None:
    alpha.at("boss:s").send(WORKER, "job")
    alpha.exchange.hand_over("beta", [WORKER])
    alpha.sql("UPDATE deliveries SET expires_at = 1")
    noted = alpha.sql("SELECT * FROM link_news WHERE lease IS NOT NULL")
    alpha.sql("UPDATE deliveries SET lease = NULL")

    alpha.sql(f"UPDATE OR {way} deliveries SET expires_at = 2")

    assert len(noted) == 1
    assert alpha.sql("SELECT * FROM link_news") == noted


def test_news_waits_in_the_file_and_is_told_once_for_several_changes(carrier: Carrier, alpha: Host, beta: Host) -> None:
    hold(carrier, alpha, beta)
    bodies(beta.at(WORKER))
    beta.restart()

    assert beta.exchange.tell() == {"alpha"}
    assert beta.exchange.tell() == set()

    assert len(carrier.frames(beta, alpha).frames) == 1
    assert carrier.bring(beta, alpha).addresses == ("*1",)


def test_many_changes_make_frames_of_a_hundred(carrier: Carrier, alpha: Host, beta: Host) -> None:
    alpha.at("boss:s").send_many([{"to": WORKER, "type": "job"} for _ in range(1500)])
    while alpha.exchange.hand_over("beta", [WORKER]):
        carrier.settle()
    with beta.at(WORKER).transaction() as tx:
        for message in tx.claim(1500):
            tx.ack(message.id)

    beta.exchange.tell()

    assert len(carrier.frames(beta, alpha).frames) == 15
    carrier.settle()
    assert alpha.sql("SELECT DISTINCT state FROM deliveries") == [(2,)]


def test_a_refusal_counts_for_a_delivery_that_a_later_frame_has_named_again(carrier: Carrier, alpha: Host) -> None:
    carrier.add("gamma", accept={})
    sent = alpha.at("boss:s").send(["one:s", "two:s"], "job", "body").id

    for _ in range(2):
        assert alpha.exchange.hand_over("gamma", ["one:s", "two:s"], 1) == 1
    carrier.settle()

    assert states(alpha, sent) == [("one:s", "dead"), ("two:s", "dead")]
