"""The log for an event loop of your own: page by page, of all addresses or a few, also after a file replacement."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from raven import AddressError, BusClient, ClosedError
from raven.host.bus import HostedBus
from raven.model.message import Message

Connect = Callable[..., BusClient]
Hosted = Callable[..., HostedBus]


def bodies(messages: list[Message]) -> list[Any]:
    return [message.body for message in messages]


@pytest.fixture
def talk(hosted: Hosted) -> HostedBus:
    """Send a conversation of four addresses in one task; half of its messages have a correlation id."""
    clients = {name: hosted(f"{name}:s") for name in "abcd"}
    for body in ("a to b", "b to a", "c to d", "a to c and d", "d to d"):
        recipients = [f"{name}:s" for name in body.partition(" to ")[2].split(" and ")]
        about = "talk" if "a" in body.partition(" and ")[0] else None
        clients[body[0]].send(recipients, "note", body, correlation_id=about, task_id=7)
    return clients["a"]


def test_pages_follow_one_another_to_the_newest_and_then_go_on(hosted: Hosted) -> None:
    bus = hosted("a:s")
    log = bus.log()
    empty = log.page()
    bus.send_many([{"to": "b:s", "type": "note", "body": number} for number in range(7)])

    pages = [bodies(log.page(3)) for _ in range(4)]
    bus.send("b:s", "note", "new")

    assert empty == []
    assert pages == [[0, 1, 2], [3, 4, 5], [6], []]
    assert bodies(log.page()) == ["new"]
    assert log.page() == []
    assert len(hosted("b:s").inbox(peek=True)) == 8


def test_a_log_begins_at_its_id_and_waits_for_one_that_is_yet_to_come(hosted: Hosted) -> None:
    bus = hosted("a:s")
    bus.send_many([{"to": "b:s", "type": "note", "body": number} for number in (1, 2, 3)])
    from_second, beyond = bus.log(2), bus.log(5)

    assert bodies(from_second.page()) == [2, 3]
    assert beyond.page() == []
    bus.send_many([{"to": "b:s", "type": "note", "body": number} for number in (4, 5, 6)])

    assert bodies(beyond.page()) == [5, 6]


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        ("a:s", ["a to b", "b to a", "a to c and d"]),
        (["c:s"], ["c to d", "a to c and d"]),
        (["b:s", "c:s"], ["a to b", "b to a", "c to d", "a to c and d"]),
        (("d:s", "a:s", "nobody:s"), ["a to b", "b to a", "c to d", "a to c and d", "d to d"]),
        ("nobody:s", []),
        ([], []),
    ],
)
def test_addresses_filter_a_log_and_a_tail_by_sender_and_recipient(
    talk: BusClient, role: Any, expected: list[str]
) -> None:
    log = talk.log(role=role)

    paged = [message for page in iter(lambda: log.page(2), []) for message in page]

    assert bodies(paged) == expected
    assert bodies(list(talk.tail(role=role, follow=False))) == expected
    assert bodies(list(islice(talk.tail(role=role, timeout_s=20), len(expected)))) == expected


def test_a_narrowed_log_goes_on_where_others_have_talked_meanwhile(talk: BusClient) -> None:
    log = talk.log(role="b:s")
    assert bodies(log.page()) == ["a to b", "b to a"]
    assert log.page() == []

    talk.send("c:s", "note", "no")
    talk.send("b:s", "note", "yes")

    assert bodies(log.page(1)) == ["yes"]
    assert log.page() == []


@pytest.mark.parametrize(
    ("role", "of_talk", "of_task"),
    [
        (None, ["a to b", "b to a", "a to c and d"], ["a to b", "b to a", "c to d", "a to c and d", "d to d"]),
        ("d:s", ["a to c and d"], ["c to d", "a to c and d", "d to d"]),
        (
            ["b:s", "d:s"],
            ["a to b", "b to a", "a to c and d"],
            ["a to b", "b to a", "c to d", "a to c and d", "d to d"],
        ),
    ],
)
def test_addresses_narrow_a_history(talk: BusClient, role: Any, of_talk: list[str], of_task: list[str]) -> None:
    assert bodies(talk.history("talk", role=role)) == of_talk
    assert bodies(talk.history(task_id=7, role=role)) == of_task
    assert bodies(talk.history(task_id=7, role=role, max=1)) == of_task[:1]


@pytest.mark.parametrize("role", ["a", "*:s", ["a:s", "b:*"], [""]])
def test_an_invalid_address_filter_is_refused(talk: BusClient, role: Any) -> None:
    for call in (talk.log, lambda role: talk.history("talk", role=role), lambda role: next(talk.tail(role=role))):
        with pytest.raises(AddressError):
            call(role=role)


def test_a_log_begins_anew_with_a_file_that_took_the_place_of_a_longer_one(
    db: str, tmp_path: Path, hosted: Hosted
) -> None:
    bus = hosted("a:s")
    bus.send_many([{"to": "b:s", "type": "note"}] * 5)
    log = bus.log()
    assert len(log.page()) == 5
    with BusClient.at("a:s", str(tmp_path / "new.db")) as backup:
        backup.send("b:s", "note", "restored")

    for end in ("-wal", "-shm", ""):
        os.unlink(db + end)
    os.rename(tmp_path / "new.db", db)
    bus.send("b:s", "note", "new")

    assert bodies(log.page()) == ["restored", "new"]


def test_a_log_that_was_read_in_a_transaction_that_is_undone_does_not_begin_anew(talk: BusClient) -> None:
    log = talk.log(1)
    before = len(log.page())

    with suppress(ZeroDivisionError), talk.transaction() as tx:
        tx.send("b:s", "note", "undone")
        log.page()
        raise ZeroDivisionError

    assert before
    assert not log.page()


def test_the_log_of_an_observer_ends_with_it(db: str, talk: BusClient) -> None:
    with HostedBus.at("looker:s", db, register=False) as observer:
        log = observer.log()
        page = bodies(log.page(2))

    assert page == ["a to b", "b to a"]
    with pytest.raises(ClosedError):
        log.page()
