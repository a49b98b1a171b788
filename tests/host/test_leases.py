"""The leases that a connection remembers of the messages it received."""

from __future__ import annotations

from typing import Any

import pytest

from raven import Message
from raven.host import leases as leases_module
from raven.host.leases import Leases

ME = "worker:s"
TIME = "2026-01-01T00:00:00.000000Z"


def message(id: int, lease: int | None) -> Message:
    fields: dict[str, Any] = dict.fromkeys(
        ("body", "correlation_id", "reply_to", "task_id", "dedup_key", "delivered_at", "acked_at", "expires_at",
         "finished_at", "reply_address", "report", "reason")
    )  # fmt: skip
    fields |= {"id": id, "sender": "boss:s", "recipient": ME, "to": ME, "type": "job", "state": "delivered"}
    fields |= {"urgency": "prompt", "tags": [], "attempts": 1, "created_at": TIME}
    return Message.from_dict(fields if lease is None else {**fields, "lease": lease})


def test_a_lease_is_known_by_address_and_message_and_a_later_one_takes_its_place() -> None:
    leases = Leases()

    leases.remember(ME, [message(1, 7), message(2, 7), message(3, None)])
    leases.remember(ME, [message(1, 8)])

    assert [leases.of(ME, id) for id in (1, 2, 3)] == [8, 7, None]
    assert leases.of("other:s", 1) is None


def test_a_finished_message_is_forgotten_unless_it_was_delivered_again_meanwhile() -> None:
    leases = Leases()
    leases.remember(ME, [message(1, 7), message(2, 7)])

    leases.forget(ME, 1, 7)
    leases.forget(ME, 2, 6)
    leases.forget(ME, 3, 7)

    assert [leases.of(ME, id) for id in (1, 2)] == [None, 7]


def test_the_oldest_lease_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases_module, "MAX_REMEMBERED", 3)
    leases = Leases()

    for id in (1, 2, 3, 1, 4):
        leases.remember(ME, [message(id, 7)])

    assert (len(leases), [leases.of(ME, id) for id in (1, 2, 3, 4)]) == (3, [7, None, 7, 7])
