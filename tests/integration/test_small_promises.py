"""Small promises, each once broken."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import datetime

import pytest
from pydantic import BaseModel, ConfigDict, Field

from raven import BodyError, BusClient, InputError, SchemaRegistry
from tests.support import Foreign

Connect = Callable[..., BusClient]


@pytest.fixture
def registered() -> Iterator[Callable[[type[BaseModel]], None]]:
    def register(model: type[BaseModel]) -> None:
        SchemaRegistry.register("plan", model)

    yield register
    SchemaRegistry.unregister("plan")


def test_what_is_ready_is_taken_even_without_time_to_wait(connect: Connect) -> None:
    bus = connect("worker:s")
    bus.send("worker:s", "note", 1)

    assert [message.body for message in bus.listen(timeout_s=0)] == [1]
    assert [message.body for message in bus.listen(timeout_s=0)] == []


def test_what_is_ready_is_taken_by_subscribe_without_time_to_wait(connect: Connect) -> None:
    bus = connect("worker:s")
    bus.send("worker:s", "note", 1)

    async def take() -> list[int]:
        return [message.body async for message in bus.subscribe(timeout_s=0)]

    assert asyncio.run(take()) == [1]
    assert asyncio.run(take()) == []


def test_expired_mail_does_not_count_as_pending(connect: Connect, foreign: Foreign) -> None:
    bus = connect("worker:s")
    bus.send("worker:s", "note", expires_in_s=60)
    assert [peer.pending for peer in bus.peers()] == [1]

    foreign.execute("UPDATE deliveries SET expires_at = 1")

    assert [peer.pending for peer in bus.peers()] == [0]


def test_an_instance_of_the_registered_model_is_valid_as_it_is(
    connect: Connect, registered: Callable[[type[BaseModel]], None]
) -> None:
    class Plan(BaseModel):
        model_config = ConfigDict(strict=True)
        step: int = Field(alias="Step")
        due: datetime

    registered(Plan)

    message = connect("boss:s").send("worker:s", "plan", Plan(Step=1, due=datetime(2026, 1, 2)))

    assert message.body == {"Step": 1, "due": "2026-01-02T00:00:00"}


def test_a_model_that_cannot_be_made_json_is_a_body_error(connect: Connect) -> None:
    class Odd(BaseModel):
        model_config = ConfigDict(arbitrary_types_allowed=True)
        thing: object

    with pytest.raises(BodyError, match="cannot be made JSON"):
        connect("boss:s").send("worker:s", "note", Odd(thing=object()))


def test_a_number_beyond_all_ids_is_refused_in_words(connect: Connect) -> None:
    bus = connect("boss:s")

    with pytest.raises(InputError, match="max 1000"):
        bus.inbox(max=10**20)
    with pytest.raises(InputError, match="from_id 1000"):
        list(bus.tail(from_id=10**20, follow=False))


def test_a_loop_that_a_forked_child_goes_on_with_ends_there(
    connect: Connect, spawn: Callable[..., object], db: str
) -> None:
    connect("boss:s")

    program = spawn("forked_loop", db, "worker:s")

    assert program.read() == "the child's loop has ended"  # type: ignore[attr-defined]
