"""Patience: naps that grow, up to a limit, however long it takes."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from raven import BusClient, BusyError
from raven.host.bus import HostedBus
from raven.store.checkpoint import Patience
from tests.support import Program

Connect = Callable[..., BusClient]
Hosted = Callable[..., HostedBus]


def test_no_number_of_naps_is_too_great() -> None:
    patience = Patience(30)

    assert patience.wait(0)
    assert patience.wait(100_000)


def test_without_patience_it_gives_up_at_once() -> None:
    assert not Patience(0).wait(0)


def test_impatience_outlasts_an_inner_one(hosted: Hosted, spawn: Callable[..., Program], db: str) -> None:
    bus = hosted("worker:s", busy_timeout_s=30)
    spawn("lock_holder", db).read()

    began = time.monotonic()
    with bus.impatient():
        with bus.impatient():
            pass
        with pytest.raises(BusyError):
            bus.send("worker:s", "note")

    assert time.monotonic() - began < 10
