"""The clock: microseconds, UTC and ISO 8601 agree with each other and with Python's datetime."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from raven.model import clock


def test_now_is_the_wall_clock_in_microseconds() -> None:
    before = time.time_ns()
    now = clock.now()
    after = time.time_ns()

    assert before // 1000 <= now <= after // 1000


def test_microseconds_become_a_time_in_utc() -> None:
    assert clock.from_micros(0) == datetime(1970, 1, 1, tzinfo=UTC)
    assert clock.from_micros(1_500_000).tzinfo is UTC
    assert clock.from_micros(1_500_001) == datetime(1970, 1, 1, 0, 0, 1, 500_001, tzinfo=UTC)


@given(st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2200, 1, 1), timezones=st.just(UTC)))
def test_no_microsecond_is_lost_between_number_time_and_text(moment: datetime) -> None:
    micros = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)

    assert clock.from_micros(micros) == moment
    assert datetime.fromisoformat(clock.isoformat(moment)) == moment


def test_a_time_out_of_range_is_the_first_or_the_last_datetime() -> None:
    assert clock.from_micros((1 << 63) - 1) == datetime.max.replace(tzinfo=UTC)
    assert clock.from_micros(-(1 << 63)) == datetime.min.replace(tzinfo=UTC)


def test_a_time_is_written_with_all_its_digits_and_a_z() -> None:
    assert clock.isoformat(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)) == "2026-01-02T03:04:05.000000Z"


def test_spans_are_rounded_to_microseconds() -> None:
    assert clock.to_micros(1) == 1_000_000
    assert clock.to_micros(0.1) == 100_000
    assert clock.to_micros(1e-6) == 1


def test_none_converts_to_none() -> None:
    assert clock.optional_from_micros(None) is None
    assert clock.optional_from_micros(0) == clock.from_micros(0)
    assert clock.isoformat(None) is None
