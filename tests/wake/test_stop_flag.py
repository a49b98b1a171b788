"""The flag that ends a thread: a finalizer can set it at any moment of that thread."""

from __future__ import annotations

import threading

from raven.wake.stop import StopFlag
from tests.support import DEADLINE_S


def test_a_thread_that_waits_is_woken_once_and_for_all() -> None:
    flag = StopFlag()
    woken: list[bool] = []
    threads = [threading.Thread(target=lambda: woken.append(flag.wait(DEADLINE_S))) for _ in range(3)]
    for thread in threads:
        thread.start()

    flag.set()
    flag.set()
    for thread in threads:
        thread.join(DEADLINE_S)

    assert woken == [True, True, True]
    assert flag.is_set()
    assert flag.wait(DEADLINE_S)


def test_without_a_call_of_set_a_wait_ends_with_its_timeout() -> None:
    flag = StopFlag()

    assert not flag.wait(0)
    assert not flag.wait(0.01)
    assert not flag.is_set()
