"""The threads of a host run jobs in order, and report each outcome on the event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from functools import partial

import pytest

from raven.host.bus import HostedBus
from raven.host.worker import Outcome, Reader, Worker, Writer
from tests.support import DEADLINE_S


def test_a_worker_goes_on_after_a_job_that_fails_and_after_a_callback_that_fails(
    caplog: pytest.LogCaptureFixture,
) -> None:
    outcomes: list[Outcome] = []

    def refuse(outcome: Outcome) -> None:
        raise OSError("the callback fails")

    async def run() -> None:
        ended = asyncio.Event()
        worker = Worker("worker", asyncio.get_running_loop(), lambda: None)
        worker.submit(lambda: 1 / 0, outcomes.append)
        worker.submit(lambda: 1, refuse)
        worker.submit(lambda: 2, outcomes.append)
        worker.submit(ended.is_set, lambda outcome: ended.set())
        await asyncio.wait_for(ended.wait(), DEADLINE_S)
        worker.end()
        assert await asyncio.to_thread(worker.join, DEADLINE_S)

    asyncio.run(run())

    assert isinstance(outcomes[0].error, ZeroDivisionError)
    assert outcomes[1:] == [Outcome(2)]
    assert "a request failed unexpectedly" in caplog.text
    assert "the callback of a request failed" in caplog.text


def test_a_writer_that_is_ended_writes_what_it_has_been_given(hosted: Callable[..., HostedBus]) -> None:
    bus, is_busy, release = hosted("a:s"), threading.Event(), threading.Event()
    sent: list[Outcome] = []

    def stay() -> None:
        is_busy.set()
        release.wait(DEADLINE_S)

    async def run() -> None:
        writer = Writer(bus, asyncio.get_running_loop(), lambda: None, on_loop=False, groups=True)
        writer.submit(stay, lambda outcome: None)
        assert await asyncio.to_thread(is_busy.wait, DEADLINE_S)
        for number in range(2):
            writer.submit(partial(bus.send, "b:s", "note", number), sent.append)
        writer.end()
        release.set()
        assert await asyncio.to_thread(writer.join, DEADLINE_S)

    asyncio.run(run())

    assert [outcome.value.body for outcome in sent] == [0, 1]


def test_a_group_of_long_jobs_is_committed_in_pieces(hosted: Callable[..., HostedBus]) -> None:
    bus, reported = hosted("a:s"), []

    def send(number: int) -> None:
        bus.send("b:s", "note", number)
        end = time.thread_time() + 0.01
        while time.thread_time() < end:
            pass

    async def run() -> Writer:
        writer = Writer(bus, asyncio.get_running_loop(), lambda: None, on_loop=False, groups=True)
        ended = asyncio.Event()
        for number in range(5):
            writer.submit(partial(send, number), reported.append)
        writer.submit(lambda: None, lambda outcome: ended.set())
        await asyncio.wait_for(ended.wait(), DEADLINE_S)
        writer.end()
        assert await asyncio.to_thread(writer.join, DEADLINE_S)
        return writer

    writer = asyncio.run(run())

    assert [message.body for message in bus.inbox(peek=True)] == []
    assert [message.body for message in hosted("b:s").inbox()] == [0, 1, 2, 3, 4]
    assert [outcome.error for outcome in reported] == [None] * 5
    assert writer.commits >= 5


def test_reads_of_the_log_let_ten_others_go_first() -> None:
    is_busy, release, ran = threading.Event(), threading.Event(), []

    def stay() -> None:
        is_busy.set()
        release.wait(DEADLINE_S)

    async def run() -> None:
        ended = asyncio.Event()
        reader = Reader("reader", asyncio.get_running_loop(), lambda: None)
        reader.submit(stay, lambda outcome: None)
        assert await asyncio.to_thread(is_busy.wait, DEADLINE_S)
        for number in range(3):
            reader.log.submit(partial(ran.append, f"log {number}"), lambda outcome: None)
        for number in range(12):
            reader.submit(partial(ran.append, number), lambda outcome: None)
        reader.log.submit(lambda: None, lambda outcome: ended.set())
        release.set()
        await asyncio.wait_for(ended.wait(), DEADLINE_S)
        assert reader.pending() == 0
        reader.log.submit(partial(ran.append, "the last"), lambda outcome: None)
        reader.end()
        assert await asyncio.to_thread(reader.join, DEADLINE_S)

    asyncio.run(run())

    assert ran == [*range(9), "log 0", *range(9, 12), "log 1", "log 2", "the last"]
