"""A loop that the garbage collector ends waits for no lock: its thread, or another, may hold any of them."""

from __future__ import annotations

from collections.abc import Callable

from tests.support import Program

Spawn = Callable[..., Program]


def test_the_end_of_dropped_loops_waits_for_no_lock_and_is_made_up_for_later(db: str, spawn: Spawn) -> None:
    program = spawn("collected_loop", db)

    assert program.read() == "collected"
    assert program.read() >= 75
    assert program.wait() == 0
