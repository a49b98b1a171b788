"""A subscription of the socket's client, without a socket: its request after a lost connection, and its messages."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from raven import InputError, Message, ServerError
from raven.model import clock
from raven.model.leases import LeaseTracker
from raven.model.limits import PUSH_LEASE_S
from raven_rpc.client.subscription import Log, Mail, Options

WHEN = datetime(2030, 1, 1, tzinfo=UTC)
NOTE = Message(
    id=7, sender="boss:s", recipient="worker:s", to="worker:s", type="note", body=None, state="sent", urgency="prompt",
    tags=(), correlation_id=None, reply_to=None, task_id=None, dedup_key=None, attempts=0, created_at=WHEN,
    delivered_at=None, acked_at=None, expires_at=None,
)  # fmt: skip


def options(ack: str = "auto", most: int = 50) -> Options:
    return Options(ack, 30.0, 1.0, most)  # type: ignore[arg-type]


def push(message: Message) -> dict[str, object]:
    return {"method": "message", "params": {"message": message.as_dict()}}


def test_a_log_goes_on_behind_the_last_message_that_it_has_delivered() -> None:
    log = Log(3, ("boss:s", "worker:s"), follow=True)
    asked = [dict(log.params)]

    assert log.deliver(NOTE) is NOTE

    asked.append(dict(log.params))
    assert asked == [{"from_id": id, "follow": True, "role": ["boss:s", "worker:s"]} for id in (3, 8)]
    assert log.question(NOTE, None) is None


def test_mail_with_auto_acks_is_acked_under_the_newest_subscription_before_it_is_delivered() -> None:
    mail = Mail("worker:s", options(), LeaseTracker())
    for number in (1, 5):
        mail.begin({"subscription": number})

    question = mail.question(NOTE, None)

    assert question is not None
    assert (question.method, question.params) == ("ack", {"id": 7, "subscription": 5})
    assert question.holds({"acked": [7]})
    delivered = mail.deliver(NOTE)
    assert (delivered.state, delivered.attempts, delivered.delivered_at) == ("acked", 1, delivered.acked_at)


def test_mail_with_manual_acks_is_known_by_its_lease_until_the_loop_ends() -> None:
    leases = LeaseTracker()
    mail = Mail("worker:s", options("manual"), leases)
    leased = replace(NOTE, lease=99)

    assert mail.deliver(leased) is leased
    assert leases.lease_of(7) == 99
    mail.end()
    mail.end()

    assert leases.lease_of(7) is None


class Clock:
    """The clocks of a loop, which the test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._wall, self._steady = 1_900_000_000_000_000, 5_000_000
        monkeypatch.setattr(clock, "now", lambda: self._wall)
        monkeypatch.setattr(clock, "monotonic", lambda: self._steady)

    def go_on(self, span_s: float, *, set_back_s: float = 0.0, suspended_s: float = 0.0) -> None:
        """Let time pass, and set the wall clock back; the monotonic clock stands while the machine is suspended."""
        self._steady += clock.to_micros(span_s)
        self._wall += clock.to_micros(span_s + suspended_s - set_back_s)

    def leased_until(self, ago_s: float = 0.0) -> str:
        """Return the text that a server wrote with a push so long ago."""
        return self.in_s(PUSH_LEASE_S - ago_s)

    def in_s(self, span_s: float) -> str:
        return clock.isoformat(clock.from_micros(self._wall + clock.to_micros(span_s)))


def test_a_loop_with_manual_acks_asks_whether_it_holds_what_it_was_not_pushed_just_now(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    time, mail = Clock(monkeypatch), Mail("worker:s", options("manual"), LeaseTracker())
    mail.begin({"subscription": 3})
    leased, second, third = (replace(NOTE, id=id, lease=99, attempts=1) for id in (7, 8, 9))

    assert mail.question(leased, time.leased_until()) is None
    assert mail.question(leased, time.leased_until(ago_s=0.09)) is None
    assert mail.question(leased, time.leased_until(ago_s=-1)) is not None  # the clock was set back
    question = mail.question(leased, time.leased_until(ago_s=0.2))
    assert question is not None
    assert (question.method, question.params) == ("held", {"subscription": 3})

    assert question.holds({"held": [7, 8], "leased_until": time.in_s(10)})
    assert mail.question(second, time.leased_until(ago_s=0.2)) is None
    assert mail.question(third, time.leased_until(ago_s=0.2)) is not None
    mail.deliver(second)
    assert mail.question(second, time.leased_until(ago_s=0.2)) is not None  # may be acked meanwhile
    time.go_on(0.2)
    assert mail.question(leased, time.leased_until(ago_s=0.4)) is not None
    assert question.holds({"held": [8], "leased_until": time.in_s(10)}) is False
    for odd in ({}, {"held": [7], "leased_until": 7}, {"held": [7], "leased_until": "soon"}):
        with pytest.raises(ServerError, match="does not know"):
            question.holds(odd)


@pytest.mark.parametrize(
    ("leased_s", "wait", "holds"),
    [
        (10, {"span_s": 9.8}, True),
        (10, {"span_s": 9.95}, None),  # about to end
        (10, {"span_s": 11}, None),
        (30, {"span_s": 11}, True),
        (10, {"span_s": 1, "suspended_s": 11}, None),
        (10, {"span_s": 11, "set_back_s": 5}, None),
        (10, {"span_s": 3, "set_back_s": 3600}, True),
        (None, {"span_s": 9.8}, True),  # an older server, which leases for 10 s at least
        (None, {"span_s": 11}, None),
        (-3600, {"span_s": 9.8}, True),  # the clock was set back before the server looked
        (-3600, {"span_s": 11}, None),
    ],
)
def test_an_answer_counts_only_until_the_first_of_the_leases_may_have_ended(
    monkeypatch: pytest.MonkeyPatch, leased_s: float | None, wait: dict[str, float], holds: bool | None
) -> None:
    time, mail = Clock(monkeypatch), Mail("worker:s", options("manual"), LeaseTracker())
    leased = replace(NOTE, lease=99, attempts=1)
    pushed = time.leased_until(ago_s=1)
    question = mail.question(leased, pushed)
    assert question is not None
    result = {"held": [7]} if leased_s is None else {"held": [7], "leased_until": time.in_s(leased_s)}

    time.go_on(**wait)

    assert question.holds(result) is holds
    if holds is None:
        assert mail.question(leased, pushed) is not None


def test_a_loop_does_not_trust_the_time_of_a_push_from_before_the_clock_was_set_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    time, mail = Clock(monkeypatch), Mail("worker:s", options("manual"), LeaseTracker())
    leased = replace(NOTE, lease=99, attempts=1)
    pushed = time.leased_until()
    assert mail.question(leased, pushed) is None

    time.go_on(40, set_back_s=39.99)
    assert mail.question(leased, pushed) is not None
    time.go_on(20)
    assert mail.question(leased, time.leased_until()) is not None
    time.go_on(20)
    assert mail.question(leased, time.leased_until()) is None


def test_a_loop_with_manual_acks_asks_about_each_message_that_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    time, mail = Clock(monkeypatch), Mail("worker:s", options("manual"), LeaseTracker())

    assert mail.question(replace(NOTE, lease=99, attempts=2), time.leased_until()) is not None


def test_a_loop_at_an_older_server_renews_the_lease_of_each_message(monkeypatch: pytest.MonkeyPatch) -> None:
    time, mail = Clock(monkeypatch), Mail(None, options("manual"), LeaseTracker())

    question = mail.question(replace(NOTE, lease=99), None)

    assert question is not None
    assert question.method == "extend"
    assert question.params == {"id": 7, "role": "worker:s", "lease": 99, "lease_s": PUSH_LEASE_S}
    assert question.holds({"extended": 7})
    time.go_on(29.95)
    assert question.holds({"extended": 7}) is None


@pytest.mark.parametrize(
    ("ack", "most", "asked"),
    [("auto", 50, ("prefetch", 4)), ("auto", 2, ("prefetch", 2)), ("manual", 50, ("manual", 50))],
)
def test_only_a_few_messages_are_asked_for_ahead_with_auto_acks(ack: str, most: int, asked: tuple[str, int]) -> None:
    wire_ack, window = asked

    assert Mail("worker:s", options(ack, most), LeaseTracker()).params == {
        "role": "worker:s",
        "ack": wire_ack,
        "window": window,
    }
    assert Mail(None, options(ack, most), LeaseTracker()).params == {"ack": wire_ack, "window": window}


def test_a_notification_is_a_message_or_the_end_with_or_without_an_error() -> None:
    mail = Mail("worker:s", options(), LeaseTracker())

    assert mail.message_of(push(NOTE)) == NOTE
    assert mail.message_of({"method": "end", "params": {"subscription": 1}}) is None
    with pytest.raises(InputError, match="from_id"):
        mail.message_of(
            {"method": "end", "params": {"error": {"message": "from_id", "data": {"kind": "invalid_params"}}}}
        )


def test_an_answer_of_another_shape_is_said_to_be_one() -> None:
    mail = Mail("worker:s", options(), LeaseTracker())

    for wrong in ({}, None, {"subscription": "first"}):
        with pytest.raises(ServerError, match="does not know"):
            mail.begin(wrong)
    with pytest.raises(ServerError, match="does not know"):
        mail.message_of({"method": "message", "params": {}})
