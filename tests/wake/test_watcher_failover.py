"""A file replaced while clients wait: they tail the new file, and are registered in it."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from raven import BusClient, BusObserver
from tests.support import DEADLINE_S, wait_for_waiting, wait_until

Connect = Callable[..., BusClient]


def replace(db: str, tmp_path: Path) -> None:
    """Replace `db` by an empty bus, without the old one's WAL and index."""
    BusClient.at("x:s", str(tmp_path / "new.db")).close()
    for end in ("-wal", "-shm"):
        os.unlink(db + end)
    os.replace(tmp_path / "new.db", db)


def test_a_tail_starts_again_in_the_new_file(db: str, tmp_path: Path, connect: Connect) -> None:
    boss = connect("boss:s")
    for number in range(5):
        boss.send("worker:s", "note", f"old {number}")
    seen: list[str] = []

    def follow() -> None:
        with BusObserver(db) as observer:
            for message in islice(observer.tail(poll_interval_s=0.1, timeout_s=15), 6):
                seen.append(message.body)

    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(follow)
        wait_until(lambda: len(seen) == 5, "the old messages")
        replace(db, tmp_path)
        connect("late:s").send("worker:s", "note", "new")
        following.result(DEADLINE_S)

    assert seen == [*(f"old {number}" for number in range(5)), "new"]


def test_a_waiting_subscriber_is_registered_in_the_new_file(db: str, tmp_path: Path, connect: Connect) -> None:
    worker = connect("worker:s")

    with ThreadPoolExecutor(1) as pool:
        hearing = pool.submit(next, iter(worker.listen(poll_interval_s=0.1, timeout_s=15)))
        wait_for_waiting(db, "worker:s")
        replace(db, tmp_path)
        late = connect("late:s")
        wait_until(lambda: "worker:s" in [peer.address for peer in late.peers()], "the worker in the new file")
        late.send("*:s", "note", "for all")

        assert hearing.result(DEADLINE_S).body == "for all"
