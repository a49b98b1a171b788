"""Retention: drop what is finished and old, in bites small enough that nobody waits for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from raven import clock, settlement
from raven.draft import MAX_SPAN_S
from raven.errors import InputError
from raven.store import Store

_BITE = 500


class Pruned(NamedTuple):
    """Progress so far: messages and their bytes of body dropped, of `candidates` old enough to be looked at."""

    messages: int
    bytes: int
    candidates: int


def prune(
    store: Store,
    ring: Callable[[Iterable[str]], object],
    older_than_s: float,
    *,
    dry_run: bool = False,
    progress: Callable[[Pruned], None] | None = None,
) -> Pruned:
    """Drop messages sent more than `older_than_s` ago that no recipient still has to finish.

    Each bite is one transaction, so a crash loses none of the work done. The newest message always stays: it keeps the
    ids from being used again. At the end the file gives its free space back. With `dry_run` nothing is dropped.
    """
    if not isinstance(older_than_s, int | float) or not 0 <= older_than_s <= MAX_SPAN_S:
        raise InputError(f"older_than_s {older_than_s!r} is not a number of seconds, 0 to 100 years")
    now = clock.now()
    before = now - clock.to_micros(older_than_s)
    # What nobody took in time is finished, even where nobody has noticed yet.
    settlement.settle(store, ring)
    candidates, upto = store.rows("prunable_span", {"before": before})[0]
    done = Pruned(0, 0, candidates)
    query = {"after": 0, "upto": upto, "before": before, "max": _BITE}
    while upto is not None:
        bite = store.rows("prunable_bite", query) if dry_run else _drop(store, query)
        done = Pruned(done.messages + len(bite), done.bytes + sum(length for _, length in bite), candidates)
        if progress is not None:
            progress(done)
        if len(bite) < _BITE:
            break
        query["after"] = bite[-1][0]
    if done.messages and not dry_run:
        store.give_space_back()
    return done


def _drop(store: Store, query: dict[str, Any]) -> list[Any]:
    """Drop one bite and return its messages' ids and lengths."""
    with store.write() as tx:
        bite = tx.rows("prunable_bite", query)
        for message_id, _ in bite:
            tx.change("delete_deliveries", {"message_id": message_id})
            tx.change("delete_message", {"message_id": message_id})
    return bite
