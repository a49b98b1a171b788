"""A deadline of the harness is that of a quiet machine; a slow one has more time, in proportion and no more."""

from __future__ import annotations

import select
import socket
import time

import pytest

from scripts.harness import deadline
from scripts.harness.deadline import Deadline, Limit, slowness, wait_until


@pytest.fixture(params=[1.0, 3.0])
def slow(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> float:
    """Let the machine be as slow as this."""
    monkeypatch.setattr(deadline, "slowness", lambda: request.param)
    return float(request.param)


def test_a_limit_is_as_long_as_the_machine_is_slow_also_after_a_sum(slow: float) -> None:
    for limit, quiet_s in ((Limit(1.0), 1.0), (2 + Limit(1.0), 3.0)):
        for took_s in (quiet_s - 0.1, quiet_s + 0.1, quiet_s * slow - 0.1, quiet_s * slow, quiet_s * slow + 0.1):
            assert (took_s < limit) == (took_s < quiet_s * slow), took_s


def test_a_wait_in_vain_ends_at_its_deadline(slow: float) -> None:
    ours, theirs = socket.socketpair()
    poller = select.poll()
    poller.register(ours, select.POLLIN)
    with ours, theirs:
        began = time.monotonic()
        assert not Deadline(0.1).poll(poller)
        with pytest.raises(AssertionError, match=r"waited 0\.1 s in vain for: a miracle"):
            wait_until(lambda: False, "a miracle", 0.1)
        assert time.monotonic() - began >= 0.2 * slow
        assert Deadline(0).left_s() == 0

        theirs.send(b"!")
        assert Deadline(0).poll(poller)


def test_the_slowness_of_a_machine_is_between_1_and_20_and_grows_when_a_clock_runs_faster() -> None:
    assert 1 <= slowness(time.process_time) <= 20
    assert slowness(lambda: 0.0) == 1
    assert slowness(lambda: 1000 * time.monotonic()) == 20
