"""Patience: naps that grow, up to a limit, however long it takes."""

from __future__ import annotations

from raven.store.checkpoint import Patience


def test_no_number_of_naps_is_too_great() -> None:
    patience = Patience(30)

    assert patience.wait(0)
    assert patience.wait(100_000)


def test_without_patience_it_gives_up_at_once() -> None:
    assert not Patience(0).wait(0)
