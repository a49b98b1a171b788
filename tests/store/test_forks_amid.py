"""A fork waits for what other threads do with the bus, and never in such a way that they wait for it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support import Program


@pytest.mark.parametrize("attempt", range(3))  # the order in which clients are held is left to chance
@pytest.mark.parametrize("what", ["other", "new", "fork"])
def test_a_fork_while_a_thread_in_a_transaction_needs_another_client_or_forks_does_not_hang(
    db: str, spawn: Callable[..., Program], what: str, attempt: int
) -> None:
    assert spawn("forker_amid", db, f"{db}.other-{attempt}", what).read() == 0
