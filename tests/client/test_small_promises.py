"""Small promises, each once broken."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from datetime import datetime

import pytest
from pydantic import BaseModel, ConfigDict, Field

from raven import AddressError, BodyError, BusClient, BusyError, SchemaRegistry, WaitTimeoutError
from raven_rpc import Client
from raven_rpc.client.calls import Call
from raven_rpc.client.long_call import LongCall
from tests.serving import Served
from tests.support import Foreign, Program

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


def test_a_loop_that_a_forked_child_goes_on_with_ends_there(
    connect: Connect, spawn: Callable[..., object], db: str
) -> None:
    connect("boss:s")

    program = spawn("forked_loop", db, "worker:s")

    assert program.read() == "the child's loop has ended"  # type: ignore[attr-defined]


def test_a_share_of_no_address_leaves_nothing_that_a_close_could_meet(connect: Connect) -> None:
    bus = connect("worker:s")

    with pytest.raises(AddressError) as kept:
        bus.share("no address")
    bus.close()

    assert "no address" in str(kept.value)


def test_a_delivery_whose_message_was_deleted_by_hand_keeps_no_other_from_being_settled(
    connect: Connect, foreign: Foreign
) -> None:
    bus = connect("worker:s")
    orphan, other = (bus.send("worker:s", "note", max_attempts=1) for _ in range(2))
    bus.claim(max=2, lease_s=0.01)
    foreign.execute("DELETE FROM messages WHERE id = ?", orphan.id)
    time.sleep(0.02)

    assert [message.id for message in bus.dead()] == [other.id]


def test_impatience_outlasts_an_inner_one(connect: Connect, spawn: Callable[..., Program], db: str) -> None:
    bus = connect("worker:s", busy_timeout_s=30)
    spawn("lock_holder", db).read()

    began = time.monotonic()
    with bus.impatient():
        with bus.impatient():
            pass
        with pytest.raises(BusyError):
            bus.send("worker:s", "note")

    assert time.monotonic() - began < 10


def test_a_wait_for_who_works_past_the_expiry_that_another_has_met_does_not_look_all_the_time(connect: Connect) -> None:
    boss, quick, slow = connect("boss:s"), connect("quick:s"), connect("slow:s")
    sent = boss.send(["quick:s", "slow:s"], "note", expires_in_s=0.1)
    quick.ack(sent.id)
    slow.claim(lease_s=60)
    time.sleep(0.15)

    began = time.process_time()
    with pytest.raises(WaitTimeoutError, match="slow:s"):
        boss.wait_receipt(sent.id, timeout_s=1.5)

    assert time.process_time() - began < 0.3


def test_a_wait_over_the_socket_without_a_timeout_is_one_without_a_timeout(serve: Callable[..., Served]) -> None:
    with Client(serve().path, "worker:s") as bus:
        asked = Call("wait_receipt", {"id": 1, "state": "acked"}, lambda result: result)
        call = LongCall(bus._transport, asked, None, may_wait_forever=True)

        assert call._params == {"id": 1, "state": "acked", "timeout_s": None}


def test_over_the_socket_an_address_named_twice_has_its_dead_once(
    serve: Callable[..., Served], connect: Connect
) -> None:
    worker = connect("worker:s")
    worker.send("worker:s", "note", max_attempts=1)
    worker.nack(worker.claim()[0].id)

    with serve().connect() as line:
        shown = line.ask("dead", {"role": ["worker:s"] * 5})["messages"]
        refused = line.error("dead", {"role": [f"w{number}:s" for number in range(17)]})

    assert [message["id"] for message in shown] == [1]
    assert refused["data"]["kind"] == "limit"


def test_a_transaction_over_the_socket_claims_no_more_than_an_answer_holds(
    serve: Callable[..., Served], connect: Connect
) -> None:
    worker = connect("worker:s")
    for _ in range(6):
        worker.send("worker:s", "note", "x" * 3_500_000)

    with serve().connect() as line:
        error = line.error("transaction", {"calls": [{"method": "claim", "params": {"role": "worker:s"}}] * 6})

    assert error["data"]["kind"] == "limit"
    assert {receipt.attempts for id in range(1, 7) for receipt in worker.receipts(id)} == {0}
