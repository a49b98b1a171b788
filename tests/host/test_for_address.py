"""One connection for many addresses: prepared messages, shared transactions, and one WAL watch for all addresses."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from raven import AddressError, BodyError, BusClient, ClosedError, InputError, UnknownAddressError
from raven.host.bus import HostedBus
from tests.support import DEADLINE_S, Foreign, Program, bells, is_watched, wait_for_waiting, wait_for_watch, wait_until

Connect = Callable[..., BusClient]
Hosted = Callable[..., HostedBus]
Spawn = Callable[..., Program]


def addresses(bus: BusClient) -> list[str]:
    """Return the registered addresses."""
    return [peer.address for peer in bus.peers() if peer.registered_at]


def watching() -> list[threading.Thread]:
    """Return the threads of this process that watch for writers that do not ring."""
    return [thread for thread in threading.enumerate() if thread.name == "raven-wal-watcher"]


def test_a_shared_client_sends_and_receives_as_its_own_address(hosted: Hosted) -> None:
    boss = hosted("boss:s")
    worker = boss.for_address("worker:t")

    boss.send("worker:t", "task", 1)
    (task,) = worker.inbox()
    worker.ack(task.id)
    worker.send(task.sender, "done", task.body)

    assert worker.address == "worker:t"
    assert worker.db_path == boss.db_path
    assert [(msg.sender, msg.body) for msg in boss.inbox()] == [("worker:t", 1)]
    assert boss.read(task.id).state == "acked"


def test_a_shared_client_registers_with_its_first_write_and_not_before(hosted: Hosted) -> None:
    boss = hosted("boss:s")
    worker, silent = boss.for_address("worker:s"), boss.for_address("silent:s", register=False)
    before = addresses(boss)

    worker.send("boss:s", "note")
    silent.send("boss:s", "note")

    assert before == ["boss:s"]
    assert addresses(boss) == ["boss:s", "worker:s"]


def test_sharing_opens_no_descriptor_and_keeps_the_settings(hosted: Hosted) -> None:
    boss = hosted("boss:s", max_body_bytes=10)
    before = len(os.listdir("/dev/fd"))

    shared = [boss.for_address(f"worker-{number}:s") for number in range(20)]
    for client in shared:
        client.send("boss:s", "note", "short")

    assert len(os.listdir("/dev/fd")) == before
    with pytest.raises(BodyError):
        shared[0].for_address("another:s").send("boss:s", "note", "too long by far")


def test_a_shared_client_that_is_closed_leaves_the_others_open(hosted: Hosted) -> None:
    boss = hosted("boss:s")
    worker, other = boss.for_address("worker:s"), boss.for_address("other:s")
    with ThreadPoolExecutor(2) as pool:
        loops = {client: pool.submit(list, client.listen(poll_interval_s=60)) for client in (worker, other)}
        for client in loops:
            wait_for_waiting(boss.db_path, client.address)

        worker.close()
        worker.close()
        ended = loops[worker].result(DEADLINE_S)

        assert (ended, loops[other].done()) == ([], False)
        other.close()
    boss.send("other:s", "note", "still here")
    assert [msg.body for msg in other.inbox()] == ["still here"]


def test_a_shared_client_ends_with_the_one_it_came_from(hosted: Hosted) -> None:
    boss = hosted("boss:s")
    worker = boss.for_address("worker:s")
    with ThreadPoolExecutor(1) as pool:
        loop = pool.submit(list, worker.listen(poll_interval_s=0.1))
        wait_for_waiting(boss.db_path, "worker:s")

        boss.close()

        assert loop.result(DEADLINE_S) == []
    for call in (worker.inbox, lambda: worker.send("boss:s", "note"), lambda: worker.transaction().__enter__()):
        with pytest.raises(ClosedError, match="is closed"):
            call()


def test_shared_clients_write_in_one_transaction(hosted: Hosted, foreign: Foreign) -> None:
    boss = hosted("boss:s")
    a, b = boss.for_address("a:s"), boss.for_address("b:s")
    count = "SELECT count(*) FROM messages"

    with a.atomic():
        a.send("boss:s", "note", "a")
        b.send("boss:s", "note", "b")
        boss.send("a:s", "note", "boss")
        within = foreign.value(count)
    with suppress(ZeroDivisionError), boss.atomic():
        a.send("boss:s", "note", "undone")
        b.ack(b.send("b:s", "note", "undone").id)
        raise ZeroDivisionError

    assert (within, foreign.value(count)) == (0, 3)
    assert [msg.body for msg in boss.inbox()] == ["a", "b"]
    assert [msg.body for msg in a.inbox()] == ["boss"]


def test_drafts_are_checked_without_the_bus_and_posted_later_by_another_thread(db: str, hosted: Hosted) -> None:
    bus = hosted("boss:s")
    os.rename(db, f"{db}.away")
    with ThreadPoolExecutor(1) as pool:
        prepared = [pool.submit(bus.prepare, "worker:s", "note", number).result() for number in range(3)]
    os.rename(f"{db}.away", db)

    posted = bus.send_prepared(prepared)

    assert [(msg.id, msg.sender, msg.body, msg.state) for msg in posted] == [
        (number + 1, "boss:s", number, "sent") for number in range(3)
    ]
    assert [msg.body for msg in hosted("worker:s").inbox()] == [0, 1, 2]


@pytest.mark.parametrize(
    "wrong", [{"urgency": "soon"}, {"delay_s": -1}, {"max_attempts": 0}, {"to": "worker"}, {"type": ""}]
)
def test_a_draft_is_checked_as_a_send_is(hosted: Hosted, wrong: dict[str, Any]) -> None:
    bus = hosted("boss:s")
    message: dict[str, Any] = {"to": "worker:s", "type": "note", **wrong}

    errors = []
    for call in (bus.send, bus.prepare):
        with pytest.raises(InputError) as caught:
            call(**message)
        errors.append(str(caught.value))

    assert errors[0] == errors[1]
    assert bus.last_id() == 0


def test_drafts_of_which_one_cannot_be_stored_are_not_posted_at_all(hosted: Hosted) -> None:
    bus = hosted("boss:s")
    prepared = [bus.prepare("boss:s", "note"), bus.prepare("*:nowhere", "note")]

    with pytest.raises(UnknownAddressError):
        bus.send_prepared(prepared)

    assert bus.last_id() == 0
    assert bus.send_prepared([]) == []


def test_all_who_wait_over_one_connection_have_one_watch_until_the_last_has_left(db: str, hosted: Hosted) -> None:
    bus = hosted("boss:s")
    waiting = [bus.for_address(f"worker-{number}:s").pull_subscription() for number in range(3)]
    waiting.append(bus.pull_subscription())
    observer = bus.listener()
    loop = iter(bus.for_address("loop:s").listen(poll_interval_s=0.1, timeout_s=0.2))

    assert list(loop) == []
    threads = watching()
    for subscription in waiting:
        subscription.close()
        subscription.close()
    left = watching(), is_watched(db)
    observer.close()

    assert len(threads) == 1
    assert left == (threads, True)
    assert (watching(), is_watched(db), bells(db)) == ([], False, [])


def test_who_comes_after_the_last_has_left_watches_again(db: str, hosted: Hosted) -> None:
    bus = hosted("worker:s")

    for _ in range(3):
        with ThreadPoolExecutor(1) as pool:
            subscription = pool.submit(bus.pull_subscription).result()
        assert (len(watching()), is_watched(db)) == (1, True)
        subscription.close()
        assert (watching(), is_watched(db)) == ([], False)


def test_of_two_connections_in_one_process_one_watches_and_the_other_takes_over(db: str, hosted: Hosted) -> None:
    first, second = hosted("a:s").pull_subscription(), hosted("b:s").pull_subscription()
    before = watching()

    first.close()
    second.listener.tick()

    assert len(before) == 1
    assert len(watching()) == 1
    assert watching() != before
    second.close()
    wait_until(lambda: not is_watched(db), "the end of the watch")


def test_a_forked_child_has_a_watch_of_its_own_when_its_parent_has_none(db: str, spawn: Spawn) -> None:
    program = spawn("forked_watch", db)

    beside = [program.read()]
    wait_for_watch(db, program)
    beside.append(program.ask(None))
    program.tell()
    apart = [program.read(), program.read()]
    watched = is_watched(db)
    program.tell()
    end = program.read()

    assert beside == [{"parent": 1}, {"child beside its parent": 0}]
    assert apart == [{"parent at its end": 0}, {"child alone": 1}]
    assert watched
    assert end == {"child at its end": 0}
    assert program.wait() == 0
    assert not is_watched(db)


def test_a_share_of_no_address_leaves_nothing_that_a_close_could_meet(hosted: Hosted) -> None:
    bus = hosted("worker:s")

    with pytest.raises(AddressError) as kept:
        bus.for_address("no address")
    bus.close()

    assert "no address" in str(kept.value)


def test_one_draft_that_is_posted_alone_is_stored_as_one_among_others(hosted: Hosted) -> None:
    bus = hosted("boss:s")
    prepared = bus.prepare("worker:s", "note", 1, dedup_key="k", tags=["x"])

    alone, again = bus.send_prepared_one(prepared), bus.send_prepared([prepared])[0]

    assert (alone.id, alone.body, alone.tags, alone.duplicate) == (1, 1, ("x",), False)
    assert (again.id, again.body, again.tags, again.duplicate) == (1, 1, ("x",), True)
    assert bus.send_prepared_one(prepared) == again
