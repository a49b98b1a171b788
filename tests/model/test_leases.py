"""LeaseTracker: the leases of one client, their limit and their end."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from raven.model import leases
from raven.model.leases import LeaseTracker


class Claimed(NamedTuple):
    """The fields of a message that LeaseTracker reads."""

    id: int
    lease: int | None


def test_a_message_without_a_lease_is_not_remembered() -> None:
    known = LeaseTracker()

    known.remember([Claimed(1, None), Claimed(2, 7)])

    assert known.lease_of(1) is None
    assert known.lease_of(2) == 7


def test_of_too_many_leases_the_oldest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "_MAX_REMEMBERED", 2)
    known = LeaseTracker()

    known.remember([Claimed(id, 7) for id in range(1, 6)])

    assert [known.lease_of(id) for id in range(1, 6)] == [None, None, None, 7, 7]


def test_the_end_of_a_loop_forgets_its_leases_but_not_newer_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leases, "_MAX_REMEMBERED", 2)
    known = LeaseTracker()
    window = known.open_window(7)
    known.remember([Claimed(id, 7) for id in (1, 2, 3)])
    known.remember([Claimed(1, 8)])

    known.close_window(7)

    assert window.ids == {1, 2, 3}
    assert [known.lease_of(id) for id in (1, 2, 3)] == [8, None, None]
