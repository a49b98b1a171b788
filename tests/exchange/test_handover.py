"""Handover: a message goes to another host once, whole and in order, whatever becomes of its frames."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from raven.exchange.values import Confirmation, Incoming
from scripts.harness.deadline import wait_until
from tests.exchange.carrier import Carrier, Host, bodies, envelope, receipt, states

WORKER = "worker:s"


def send(host: Host, *sent: Any, to: str | list[str] = WORKER, **options: Any) -> list[int]:
    return [host.at("boss:s").send(to, "job", body, **options).id for body in sent]


def test_a_message_arrives_with_every_field_and_its_times_on_the_clock_of_the_other_host(
    carrier: Carrier, alpha: Host, beta: Host
) -> None:
    alpha.exchange.offset_us, beta.exchange.offset_us = 5_000_000, -3_000_000
    body = {"text": 'quote " and ü\n', "number": 1e300, "list": [None, True, []]}
    sent = alpha.at("boss:s").send(
        WORKER, "job", body, urgency="blocking", tags=["a", "b"], correlation_id="c", task_id="t", dedup_key="d",
        expires_in_s=3600, max_attempts=7,
    )  # fmt: skip

    alpha.exchange.hand_over("beta", [WORKER])
    carrier.settle()

    (got,) = beta.at(WORKER).claim()
    kept = ("sender", "to", "type", "body", "urgency", "tags", "correlation_id", "task_id", "dedup_key")
    assert [getattr(got, name) for name in kept] == [getattr(sent, name) for name in kept]
    assert got.expires_at == sent.expires_at + timedelta(seconds=8)
    assert beta.sql("SELECT max_attempts FROM deliveries") == [(7,)]


def test_a_held_delivery_is_no_consumers_here_and_one_that_stays_is(carrier: Carrier, alpha: Host, beta: Host) -> None:
    send(alpha, 1, 2, 3)

    assert alpha.exchange.hand_over("beta", [WORKER], max=2) == 2

    assert bodies(alpha.at(WORKER)) == [3]
    carrier.settle()
    assert bodies(beta.at(WORKER)) == [1, 2]
    carrier.settle()
    assert alpha.exchange.outgoing() == []
    assert alpha.sql("SELECT DISTINCT state, ready_at FROM deliveries") == [(2, 0)]


def test_a_limit_for_one_address_lets_the_mail_of_the_others_go_in_order(
    carrier: Carrier, alpha: Host, beta: Host
) -> None:
    send(alpha, 1)
    send(alpha, 2, to=[WORKER, "pool:s"])
    send(alpha, 3, to="pool:s")
    send(alpha, 4)

    assert alpha.exchange.hand_over("beta", {WORKER: None, "pool:s": 1}) == 3

    carrier.settle()
    assert bodies(beta.at(WORKER)) == [1, 2, 4]
    assert bodies(beta.at("pool:s")) == [2]
    assert bodies(alpha.at("pool:s")) == [3]


def test_deliveries_leave_by_urgency_then_in_the_order_of_their_sends(
    carrier: Carrier, alpha: Host, beta: Host
) -> None:
    for urgency in ("fyi", "prompt", "blocking", "prompt"):
        send(alpha, urgency, urgency=urgency)

    alpha.exchange.hand_over("beta", [WORKER])

    frames = [json.loads(frame.text)["b"] for frame in carrier.frames(alpha, beta).frames]
    assert [json.loads(body) for body in frames] == ["blocking", "prompt", "prompt", "fyi"]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (0, 0, 1, 1, 2), (1, 0, 1, 2, 2)])
def test_envelopes_may_come_twice_and_in_any_order(
    carrier: Carrier, alpha: Host, beta: Host, order: tuple[int, ...]
) -> None:
    send(alpha, *range(6))
    alpha.exchange.hand_over("beta", [WORKER])
    parts = [alpha.exchange.frames("beta", after, max=2) for after in (0, 2, 4)]

    behind = [carrier.bring(alpha, beta, parts[index], confirms=False).is_behind for index in order]
    carrier.settle()

    assert bodies(beta.at(WORKER)) == [*range(6)]
    assert any(behind) == (order[0] != 0)


def test_a_relay_that_forgets_all_but_its_file_goes_on_where_it_was(carrier: Carrier, alpha: Host, beta: Host) -> None:
    send(alpha, *range(5))
    alpha.exchange.hand_over("beta", [WORKER], max=3)
    carrier.bring(alpha, beta, confirms=False)
    for host in (alpha, beta):
        host.restart()

    alpha.exchange.hand_over("beta", [WORKER])
    carrier.settle()
    bodies(beta.at(WORKER))
    beta.restart()
    carrier.settle()

    assert [row[0] for row in alpha.sql("SELECT state FROM deliveries")] == [2] * 5
    assert alpha.sql("SELECT count(*) FROM link_out") == beta.sql("SELECT count(*) FROM link_news") == [(0,)]


@pytest.mark.parametrize("options", [{"window": 3}, {"window_bytes": 2000}])
def test_a_full_window_keeps_the_rest_takeable_here(carrier: Carrier, options: dict[str, int]) -> None:
    alpha, beta = carrier.add("alpha", **options), carrier.add("beta")
    send(alpha, *["x" * 700] * 5)

    handed = [alpha.exchange.hand_over("beta", [WORKER]) for _ in range(2)]

    assert handed == [3, 0]
    alpha.restart()
    assert alpha.exchange.hand_over("beta", [WORKER]) == 0
    carrier.bring(alpha, beta)
    assert alpha.exchange.hand_over("beta", [WORKER]) == 2


def test_a_batch_ends_at_its_bytes_and_has_one_frame_at_least(carrier: Carrier, alpha: Host, beta: Host) -> None:
    send(alpha, "x" * 5000, "y", "z" * 5000)
    alpha.exchange.hand_over("beta", [WORKER])

    def numbers(after: int) -> list[int]:
        return [frame.number for frame in alpha.exchange.frames("beta", after, max_bytes=3000).frames]

    assert [numbers(after) for after in (0, 1, 2, 3)] == [[1], [2], [3], []]


def test_a_message_that_fits_into_no_frame_is_dead_with_the_reason_and_stops_none_behind_it(
    carrier: Carrier, alpha: Host, beta: Host
) -> None:
    (too_long, requeued, longest, _) = send(alpha, 1, 2, 3, "last")
    for id, size in ((too_long, (30 << 20) + 1), (requeued, (30 << 20) + 1), (longest, 30 << 20)):
        quoted = size - len(WORKER) - 2
        alpha.sql("UPDATE messages SET body = json_quote(printf('%.*c', ?, '.')) WHERE id = ?", quoted, id)

    assert alpha.exchange.hand_over("beta", [WORKER]) == 1  # its window is full then

    died = receipt(alpha, too_long)
    assert (died.state, died.reason) == (
        "dead",
        "refused by alpha: the message has 31,457,281 bytes, over the 31,457,280 that go to another host: send a path "
        "to a file instead",
    )
    carrier.settle()
    assert alpha.exchange.hand_over("beta", [WORKER]) == 1
    alpha.at(WORKER).requeue(requeued)
    carrier.settle()
    assert bodies(beta.at(WORKER)) == ["last"]
    assert "refused by beta: its body has 31,457,272 bytes" in str(receipt(alpha, longest).reason)
    assert [len(body) for body in bodies(alpha.at(WORKER))] == [(30 << 20) - len(WORKER) - 1]
    assert alpha.sql("SELECT count(*) FROM link_news") == [(0,)]


def test_a_message_to_very_many_has_frames_that_a_receiver_takes_also_when_numbers_begin_anew(carrier: Carrier) -> None:
    alpha, beta = carrier.add("alpha", window=20_000), carrier.add("beta")
    recipients = [f"w{number}:s" for number in range(10_001)]
    [sent] = send(alpha, "hear", to=recipients)

    def sizes() -> list[int]:
        return [len(json.loads(frame.text)["to"]) for frame in carrier.frames(alpha, beta, max_bytes=1 << 30).frames]

    assert alpha.exchange.hand_over("beta", recipients, max=20_000) == 1
    assert sizes() == [10_000, 1]
    carrier.settle()
    alpha.exchange.confirmed("beta", Confirmation(alpha.exchange.hosts()["beta"].epoch + 1, 0, 0))
    assert alpha.exchange.flush() == {"beta"}
    assert sizes() == [10_000, 1]
    carrier.settle()

    ends = recipients[0], recipients[-1]
    assert [bodies(beta.at(address)) for address in ends] == [["hear"], ["hear"]]
    carrier.settle()
    assert [state for address, state in states(alpha, sent) if address in ends] == ["acked", "acked"]
    assert beta.sql("SELECT count(*), count(DISTINCT recipient) FROM deliveries") == [(10_001, 10_001)]


def test_a_thread_is_linked_on_both_hosts(carrier: Carrier, alpha: Host, beta: Host) -> None:
    first = alpha.at("boss:s").send(WORKER, "job", 1)
    alpha.at("boss:s").send(WORKER, "job", 2)
    alpha.exchange.hand_over("beta", [WORKER])
    carrier.settle()
    got = beta.at(WORKER).claim(2)
    beta.at(WORKER).reply(got[0], "done", 4)
    beta.exchange.hand_over("alpha", ["boss:s"])
    carrier.settle()

    answer = alpha.at("boss:s").inbox()[0]
    assert answer.reply_to == first.id
    assert [one.body for one in alpha.at("boss:s").thread(first.id)] == [1, 4]
    assert [one.body for one in beta.at(WORKER).thread(got[0].id)] == [1, 4]


def test_a_second_recipient_may_follow_later_and_both_are_told(carrier: Carrier, alpha: Host, beta: Host) -> None:
    (sent,) = [alpha.at("boss:s").send([WORKER, "other:s"], "job").id]

    for address in (WORKER, "other:s"):
        alpha.exchange.hand_over("beta", [address])
        carrier.settle()
        assert len(bodies(beta.at(address))) == 1
    carrier.settle()

    assert states(alpha, sent) == [(WORKER, "acked"), ("other:s", "acked")]
    assert beta.sql("SELECT count(*) FROM messages") == [(1,)]


def test_a_broadcast_reaches_the_addresses_that_another_host_shows_in_one_frame(
    carrier: Carrier, alpha: Host, beta: Host
) -> None:
    for number in range(5):
        beta.at(f"w{number}:s")
    alpha.exchange.show("beta", beta.exchange.home())

    sent = alpha.at("boss:s").send("*:s", "news", "hear")
    there = [one.address for one in alpha.exchange.outgoing()]

    assert alpha.exchange.hand_over("beta", there) == 1
    carrier.settle()
    assert [bodies(beta.at(address)) for address in there] == [["hear"]] * 5
    carrier.settle()
    assert {state for _, state in states(alpha, sent.id)} == {"acked"}


def test_mail_of_another_host_never_leaves_again(carrier: Carrier, alpha: Host, beta: Host) -> None:
    gamma = carrier.add("gamma")
    send(alpha, 1)
    alpha.exchange.hand_over("beta", [WORKER])
    carrier.settle()

    assert beta.exchange.outgoing(full=True) == []
    assert beta.exchange.hand_over("gamma", [WORKER]) == 0
    assert bodies(beta.at(WORKER)) == [1]
    assert bodies(gamma.at(WORKER)) == []


@pytest.mark.parametrize("local_first", [False, True])
def test_a_dedup_key_is_known_whatever_host_has_used_it_first(
    carrier: Carrier, alpha: Host, beta: Host, local_first: bool
) -> None:
    gamma = carrier.add("gamma")
    first, second = (beta, alpha) if local_first else (alpha, gamma)
    sent = [(host, host.at("cron:ops").send(WORKER, "tick", host.name, dedup_key="K").id) for host in (first, second)]

    for host in {first, second} - {beta}:
        host.exchange.hand_over("beta", [WORKER])
        carrier.settle()
    done = bodies(beta.at(WORKER))
    carrier.settle()

    assert len(done) == 1
    assert [receipt(host, id, "cron:ops").state for host, id in sent] == ["acked", "acked"]
    assert beta.exchange.outgoing(full=True) == []


@pytest.mark.parametrize("meets_first", [False, True])
def test_two_hosts_that_give_each_other_the_same_key_do_not_wait_for_each_other(
    carrier: Carrier, alpha: Host, beta: Host, meets_first: bool
) -> None:
    sent = [host.at("cron:ops").send(WORKER, "tick", dedup_key="K").id for host in (alpha, beta)]
    alpha.exchange.hand_over("beta", [WORKER])
    if meets_first:
        carrier.settle()
    beta.exchange.hand_over("alpha", [WORKER])
    carrier.settle()

    done = [*bodies(alpha.at(WORKER)), *bodies(beta.at(WORKER))]
    carrier.settle()

    assert done == [None]
    assert [receipt(host, id, "cron:ops").state for host, id in zip((alpha, beta), sent, strict=True)] == ["acked"] * 2


def test_a_message_that_was_deleted_leaves_a_frame_that_says_nothing(carrier: Carrier, alpha: Host, beta: Host) -> None:
    (first, _) = send(alpha, 1, 2)
    alpha.exchange.hand_over("beta", [WORKER])
    alpha.sql("DELETE FROM deliveries WHERE id >> 20 = ?", first)
    alpha.sql("DELETE FROM messages WHERE id = ?", first)

    taken = carrier.bring(alpha, beta)

    assert (taken.admitted, taken.refused) == (1, 0)
    assert bodies(beta.at(WORKER)) == [2]


def test_outgoing_names_shared_sessions_only_and_sees_new_mail_at_once(carrier: Carrier) -> None:
    alpha = carrier.add("alpha", sessions=["swarm-*"])
    assert alpha.exchange.outgoing() == []

    send(alpha, 1, 2, to="w:swarm-1")
    send(alpha, 3, to="w:private")

    assert [(one.address, one.ready) for one in alpha.exchange.outgoing()] == [("w:swarm-1", 2)]


def test_a_forgotten_hosts_mail_is_ready_again(carrier: Carrier, alpha: Host, beta: Host) -> None:
    gamma = carrier.add("gamma")
    ids = send(alpha, 1, 2)
    alpha.exchange.show("beta", {"w:s": alpha.exchange.home()["boss:s"]})
    alpha.exchange.hand_over("beta", [WORKER])

    assert alpha.exchange.forget("beta") == 2
    assert alpha.exchange.forget("beta") == 0

    assert alpha.exchange.hosts() == {}
    assert [one.address for one in alpha.at("boss:s").peers()] == ["boss:s", WORKER]
    alpha.exchange.hand_over("gamma", [WORKER])
    carrier.settle()
    assert bodies(gamma.at(WORKER)) == [1, 2]
    carrier.settle()
    assert [receipt(alpha, id).state for id in ids] == ["acked", "acked"]


def test_a_host_that_was_forgotten_is_heard_again_from_the_start(
    carrier: Carrier, alpha: Host, beta: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("raven.exchange.confirmations.monotonic", lambda: now[0])
    ids = send(alpha, 1)
    alpha.exchange.hand_over("beta", [WORKER])
    carrier.settle()
    beta.exchange.forget("alpha")
    bodies(beta.at(WORKER))
    for _ in range(4):
        taken = beta.exchange.take_in("alpha", [envelope(carrier.frames(alpha, beta))])
        alpha.exchange.confirmed("beta", taken.confirmation)
        alpha.exchange.flush()
        now[0] += 6
    carrier.settle()

    assert receipt(alpha, ids[0]).state == "acked"


def test_a_receiver_that_cannot_write_takes_nothing_and_all_of_it_later(
    carrier: Carrier, alpha: Host, beta: Host
) -> None:
    send(alpha, 1)
    alpha.exchange.hand_over("beta", [WORKER])
    batch = carrier.frames(alpha, beta)
    beta.sql("CREATE TRIGGER full BEFORE INSERT ON link_in BEGIN SELECT RAISE(ABORT, 'full'); END")

    with pytest.raises(Exception, match="full"):
        carrier.bring(alpha, beta, batch)

    beta.sql("DROP TRIGGER full")
    assert beta.sql("SELECT (SELECT count(*) FROM messages), (SELECT count(*) FROM link_hosts)") == [(0, 0)]
    carrier.bring(alpha, beta, batch)
    assert bodies(beta.at(WORKER)) == [1]
    assert beta.exchange.take_in("alpha", [Incoming(1, 0, [])]).is_behind


@pytest.mark.parametrize("expires_first", [False, True])
def test_a_delivery_that_is_taken_back_and_handed_over_again_while_in_hand_is_not_lost(
    carrier: Carrier, alpha: Host, beta: Host, *, expires_first: bool
) -> None:
    [id] = send(alpha, 1)
    alpha.exchange.hand_over("beta", [WORKER])
    carrier.settle()
    beta.at(WORKER).claim(lease_s=0.05)
    alpha.at(WORKER).nack(id)
    alpha.exchange.hand_over("beta", [WORKER])
    if expires_first:
        batch = carrier.frames(alpha, beta)
        carrier.bring(alpha, beta, batch._replace(frames=batch.frames[:1]), confirms=False)
        wait_until(lambda: beta.at(WORKER).claim() or beta.sql("SELECT state FROM deliveries") == [(3,)], "it expires")

    carrier.settle()

    wait_until(lambda: bodies(beta.at(WORKER)) == [1], "the lease ends")
    carrier.settle()
    assert receipt(alpha, id).state == "acked"
