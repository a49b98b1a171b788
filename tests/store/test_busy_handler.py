"""The busy handler sleeps longer from attempt to attempt, up to its timeout."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from raven import BusClient, BusyError
from raven.host.bus import HostedBus
from raven.store.checkpoint import BusyHandler
from scripts.harness.deadline import Limit
from tests.support import Program

Connect = Callable[..., BusClient]
Hosted = Callable[..., HostedBus]


def test_no_number_of_attempts_is_too_great() -> None:
    busy_handler = BusyHandler(30)

    assert busy_handler.wait(0)
    assert busy_handler.wait(100_000)


def test_without_a_timeout_it_gives_up_at_once() -> None:
    assert not BusyHandler(0).wait(0)


def test_no_wait_outlasts_an_inner_one(hosted: Hosted, spawn: Callable[..., Program], db: str) -> None:
    bus = hosted("worker:s", busy_timeout_s=30)
    spawn("lock_holder", db).read()

    began = time.monotonic()

    def send() -> None:
        bus.no_wait(lambda: None)
        bus.send("worker:s", "note")

    with pytest.raises(BusyError):
        bus.no_wait(send)

    assert time.monotonic() - began < Limit(10)
