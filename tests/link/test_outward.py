"""The cursor of one host: what is published again, when, and on whose word."""

from __future__ import annotations

import pytest

from raven.exchange.values import Incoming
from raven.link.envelope import Envelope
from raven.link.relay.outward import Outward
from raven.link.relay.work import Arrival, _first_few


def published(*lasts: int, at: float = 0.0) -> Outward:
    """Return the outward side of a host to which envelopes up to these frames went, all stored by the server."""
    outward = Outward("beta")
    outward.begin(1)
    for last in lasts:
        outward.stored(outward.publish(outward.cursor + 1, last, at))
    return outward


def test_an_envelope_that_the_server_has_not_stored_goes_again_after_pauses_that_double() -> None:
    outward, now, pauses = published(10), 100.0, []

    for _ in range(8):
        assert outward.may_publish(now)
        sent = outward.publish(11, 20, now)
        later = outward.publish(21, 30, now)
        outward.lost(later, now)
        outward.lost(sent, now)
        assert outward.cursor == 10
        pause_s = outward.due_s(now)
        assert pause_s is not None
        pauses.append(pause_s)
        now += pause_s

    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30]
    outward.stored(outward.publish(11, 20, now))
    outward.lost(outward.publish(21, 30, now), now)
    assert outward.due_s(now) == 0.5


def test_a_new_connection_ends_the_pause() -> None:
    outward = published()
    outward.lost(outward.publish(1, 1, 5.0), 5.0)
    assert not outward.may_publish(5.1)

    outward.resume()

    assert outward.may_publish(5.1)


def test_only_so_many_envelopes_wait_for_the_server_at_once() -> None:
    outward = published()
    sent = []
    while outward.may_publish(0.0):
        sent.append(outward.publish(outward.cursor + 1, outward.cursor + 1, 0.0))

    assert len(sent) == 16
    outward.stored(sent[3])
    assert outward.may_publish(0.0)


@pytest.mark.parametrize(
    ("said", "at", "is_gap", "goes_back"),
    [
        ((1, 10), 3.9, False, False),  # too early
        ((1, 10), 4.0, False, False),  # the first word: it may still get on
        ((1, 30), 60.0, False, False),  # all is there
        ((1, 31), 60.0, False, False),  # more than was published: for the exchange to see
        ((2, 10), 60.0, False, False),  # of another epoch
        ((0, 7), 60.0, False, False),  # of an earlier one: it has no frame of this one, which is its first word
        ((0, 7), 0.5, True, True),
        ((1, 10), 0.4, True, False),  # too early, though a later frame has arrived
        ((1, 10), 0.5, True, True),
        ((1, 0), 0.5, True, True),
    ],
)
def test_the_first_word_of_the_host_counts_only_with_evidence(
    said: tuple[int, int], at: float, is_gap: bool, goes_back: bool
) -> None:
    outward = published(10, 20, 30)
    outward.wants_more = False

    assert outward.hear(*said, now=at, is_gap=is_gap) == goes_back

    assert outward.wants_more == goes_back
    assert outward.cursor == (said[0] * said[1] if goes_back else 30)


@pytest.mark.parametrize("said", [(1, 10), (0, 99)])  # the second: the first frames of an epoch were lost
def test_a_host_that_gets_no_further_is_sent_the_same_again_after_4_8_16_32_and_60_seconds(
    said: tuple[int, int],
) -> None:
    outward, now, times = published(10, 20), 0.0, []

    while len(times) < 6:
        now += 1.0
        if outward.hear(*said, now):
            times.append(now)
            assert outward.cursor == said[0] * said[1]
            outward.stored(outward.publish(outward.cursor + 1, 20, now))

    assert [after - before for before, after in zip([1.0, *times], times, strict=False)] == [4, 8, 16, 32, 60, 60]
    assert outward.again == 6


def test_a_host_that_gets_on_is_sent_nothing_again() -> None:
    outward = published(*range(10, 1000, 10))

    assert not any(outward.hear(1, number, now=5.0 + number) for number in range(10, 990, 10))


def test_a_new_epoch_begins_at_the_first_frame_and_forgets_the_answers_for_the_old_one() -> None:
    outward = published(10)
    old = outward.publish(11, 20, 0.0)

    assert outward.begin(2)
    assert not outward.begin(2)
    outward.stored(outward.publish(1, 5, 0.0))
    outward.lost(old, 1.0)

    assert (outward.epoch, outward.cursor) == (2, 5)


@pytest.mark.parametrize(
    ("frames", "taken"),
    [([], 0), ([1, 1, 1], 3), ([200, 200], 1), ([150, 49, 1, 1], 3), ([500], 1), ([199, 500, 1], 2)],
)
def test_one_transaction_takes_few_frames_so_that_local_writers_do_not_wait(frames: list[int], taken: int) -> None:
    arrivals = [Arrival(Envelope(Incoming(1, 0, [{}] * count), None), (), 0) for count in frames]

    assert _first_few(arrivals) == arrivals[:taken]
