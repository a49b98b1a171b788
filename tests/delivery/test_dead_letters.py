"""Dead letters: a delivery without attempts left is dead with a reason; it can be listed, requeued or purged."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raven import BusClient, ConfigError, DeliveryError, ExpiredError, InputError
from raven.errors import MessageNotFoundError
from raven.host.bus import HostedBus
from tests.support import Foreign, wait_until

pytestmark = pytest.mark.both_ways

Connect = Callable[..., BusClient]
Kill = Callable[..., list[int]]
WORKER = "worker:s"


@pytest.fixture
def bus(connect: Connect) -> BusClient:
    """Return a client of the worker."""
    return connect(WORKER)


@pytest.fixture
def kill(connect: Connect) -> Kill:
    """Let some messages die at all their recipients, and return their ids."""

    def kill(count: int = 1, to: Any = WORKER, **options: Any) -> list[int]:
        sent = connect(WORKER).send_many([{"to": to, "type": "job", "max_attempts": 1, **options}] * count)
        for address in [to] if isinstance(to, str) else to:
            client = connect(address)
            for message in client.claim(max=count):
                assert client.nack(message.id, reason=f"no, {address}") == "dead"
        return [message.id for message in sent]

    return kill


def dead(bus: BusClient, role: str | None = None) -> list[tuple[int, str]]:
    return [(message.id, message.recipient) for message in bus.dead(role)]


def test_the_nack_of_the_last_attempt_is_death_with_its_reason(bus: BusClient) -> None:
    bus.send(WORKER, "job", max_attempts=2)

    states = []
    for number in (1, 2):
        bus.claim()
        states.append(bus.nack(1, reason=f"no {number}"))

    assert states == ["delivered", "dead"]
    (message,) = bus.dead()
    assert (message.state, message.attempts, message.reason) == ("dead", 2, "no 2")
    assert message.delivered_at is not None
    assert message.finished_at is not None
    assert message.delivered_at < message.finished_at
    assert (message.acked_at, bus.claim(), bus.inbox()) == (None, [], [])
    assert bus.read(1) == message


def test_a_nack_without_a_reason_or_with_a_delay_is_death_at_once_and_says_so(bus: BusClient) -> None:
    bus.send(WORKER, "job", max_attempts=1)
    bus.claim()

    assert bus.nack(1, delay_s=60) == "dead"

    assert [message.reason for message in bus.dead()] == ["attempt 1 of 1 was nacked"]


def test_a_message_is_dead_at_the_end_of_its_last_lease(bus: BusClient) -> None:
    bus.send(WORKER, "job", max_attempts=1)
    bus.claim(lease_s=0.2)
    lease_ends = bus.receipts(1)[0].ready_at

    (message,) = wait_until(bus.dead, "the death")

    assert message.reason == "attempt 1 of 1 ended without an ack: its lease ran out"
    assert message.finished_at == lease_ends
    assert (bus.claim(), bus.receipts(1)[0].state) == ([], "dead")


def test_a_message_has_five_attempts_by_default(bus: BusClient) -> None:
    bus.send(WORKER, "job")
    for number in range(1, 6):
        assert [message.attempts for message in bus.claim()] == [number]
        assert bus.nack(1) == ("dead" if number == 5 else "delivered")


def test_a_clients_own_number_of_attempts_is_that_of_all_it_sends_unless_it_is_said_otherwise(
    hosted: Callable[..., HostedBus],
) -> None:
    others = hosted("boss:s", max_attempts=3)
    sent = [
        others.send(WORKER, "job"),
        others.send(WORKER, "job", max_attempts=7),
        others.send(WORKER, "job", max_attempts=None),
        others.for_address("x:s").send(WORKER, "job"),
    ]
    sent += others.send_many([{"to": WORKER, "type": "job"}, {"to": WORKER, "type": "job", "max_attempts": 9},
                             {"to": WORKER, "type": "job", "max_attempts": None}])  # fmt: skip
    sent += others.send_prepared([others.prepare(WORKER, "job"), others.prepare(WORKER, "job", max_attempts=1)])

    assert [others.receipts(message.id)[0].max_attempts for message in sent] == [3, 7, 3, 3, 3, 9, 3, 3, 1]


def test_the_number_of_attempts_can_stand_in_raven_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAVEN_DB", raising=False)
    monkeypatch.chdir(tmp_path)
    settings = tmp_path / "raven.yaml"
    settings.write_text("db: bus.db\nmax_attempts: 2\n")

    with BusClient("s", "worker") as bus:
        assert bus.receipts(bus.send(WORKER, "job").id)[0].max_attempts == 2
    with BusClient("s", "worker", max_attempts=4) as bus:
        assert bus.receipts(bus.send(WORKER, "job").id)[0].max_attempts == 4
    for bad in ("0", "many", "1.5", "1000001", "true"):
        settings.write_text(f"db: bus.db\nmax_attempts: {bad}\n")
        with pytest.raises(ConfigError, match="max_attempts"):
            BusClient("s", "worker")


@pytest.mark.file_only
@pytest.mark.parametrize("bad", [0, -1, 1.5, "5", True, False, float("nan"), 1_000_001, [1]])
def test_a_client_with_a_bad_number_of_attempts_is_refused_with_its_value(connect: Connect, bad: Any) -> None:
    with pytest.raises(InputError) as caught:
        connect(WORKER, max_attempts=bad)

    assert f"max_attempts {bad!r} is not a number of attempts" in str(caught.value)


def test_the_dead_come_in_the_order_of_their_ids_and_of_one_recipient_if_asked(bus: BusClient, kill: Kill) -> None:
    kill(to=["b:s", "a:s"])
    kill(to="a:s", urgency="blocking")
    kill(to="b:s")

    assert dead(bus) == [(1, "b:s"), (1, "a:s"), (2, "a:s"), (3, "b:s")]
    assert dead(bus, "b:s") == [(1, "b:s"), (3, "b:s")]
    assert dead(bus, "nobody:s") == []
    assert [message.id for message in bus.dead(max=3)] == [1, 1, 2]
    assert [message.reason for message in bus.dead("b:s")] == ["no, b:s"] * 2


def test_a_requeue_revives_with_all_attempts_before_it(bus: BusClient, kill: Kill) -> None:
    kill(2)

    assert bus.requeue(1) == 1

    (receipt,) = bus.receipts(1)
    assert (receipt.state, receipt.attempts, receipt.delivered_at, receipt.finished_at) == ("sent", 0, None, None)
    assert [(msg.id, msg.attempts, msg.state) for msg in bus.claim(max=10)] == [(1, 1, "delivered")]
    assert bus.nack(1) == "dead"
    assert dead(bus) == [(1, WORKER), (2, WORKER)]


def test_a_requeue_by_ids_revives_all_dead_deliveries_of_each_once_or_one_recipients(
    bus: BusClient, kill: Kill
) -> None:
    kill(3, to=["a:s", "b:s"])

    assert bus.requeue(1, 2, role="b:s") == 2
    assert bus.requeue(1, 3, 1) == 3

    assert dead(bus) == [(2, "a:s")]


def test_a_requeue_of_all_works_in_batches_and_skips_expired_deliveries(bus: BusClient, kill: Kill) -> None:
    kill(3, to=["a:s", "b:s"])
    (late,) = kill(expires_in_s=0.5)
    kill(1200)
    wait_until(lambda: time.time() > bus.read(late).created_at.timestamp() + 0.5, "the end of its time")

    assert bus.requeue(role="b:s", all=True) == 3
    assert bus.requeue(all=True) == 1203

    assert (dead(bus), bus.requeue(all=True)) == ([(late, WORKER)], 0)
    assert len(bus.claim(max=2000)) == 1200


@pytest.mark.parametrize(
    ("last", "error", "words"),
    [("alive", DeliveryError, "#3 is not dead: only dead deliveries can be requeued"),
     ("late", ExpiredError, "#3 is dead and past its expiry: send it again"),
     ("another's", MessageNotFoundError, "there is no message #3 to worker:s"),
     ("unknown", MessageNotFoundError, "there is no message #77")],
)  # fmt: skip
def test_a_requeue_by_ids_is_atomic(bus: BusClient, last: str, error: type[Exception], words: str, kill: Kill) -> None:
    kill(2)
    if last == "alive":
        bus.send(WORKER, "job")
    elif last == "late":
        kill(expires_in_s=0.1)
        wait_until(lambda: time.time() > bus.read(3).created_at.timestamp() + 0.1, "the end of its time")
    else:
        kill(to="other:s")

    with pytest.raises(error, match=words):
        bus.requeue(1, 2, 77 if last == "unknown" else 3, role=WORKER if last == "another's" else None)

    assert dead(bus, WORKER)[:2] == [(1, WORKER), (2, WORKER)]
    assert bus.claim() == [] or last == "alive"


def test_a_requeue_of_a_missing_id_or_of_ids_and_all_is_refused(bus: BusClient, kill: Kill) -> None:
    kill()

    for ids, options in [((), {}), ((1,), {"all": True}), (("1",), {}), ((None,), {}), ((True,), {})]:
        with pytest.raises(InputError):
            bus.requeue(*ids, **options)  # type: ignore[arg-type]
    assert dead(bus) == [(1, WORKER)]


def test_a_purge_deletes_dead_deliveries_and_then_messages_without_deliveries(
    bus: BusClient, connect: Connect, foreign: Foreign, kill: Kill
) -> None:
    kill()
    kill(to=["a:s", "b:s"])
    bus.send([WORKER, "a:s"], "job", max_attempts=1)
    bus.claim()
    bus.nack(3)
    bus.send(WORKER, "job")
    foreign.execute("UPDATE deliveries SET finished_at = 1 WHERE state = 4")  # nobody asks for their receipts any more

    counts = bus.purge_dead("a:s"), bus.purge_dead(), bus.purge_dead()

    assert counts == (1, 3, 0)
    assert foreign.execute("SELECT id FROM messages ORDER BY id") == [[3], [4]]
    assert foreign.execute("SELECT id >> 20, recipient FROM deliveries ORDER BY id") == [[3, "a:s"], [4, WORKER]]
    assert [message.id for message in connect("a:s").claim()] == [3]
    with pytest.raises(MessageNotFoundError, match="it was never sent, or it was pruned"):
        bus.read(1)


def test_a_purge_of_many_takes_bites_and_no_id_is_used_twice(bus: BusClient, foreign: Foreign, kill: Kill) -> None:
    kill(1200)
    foreign.execute("UPDATE deliveries SET finished_at = 1 WHERE state = 4")

    assert bus.purge_dead(WORKER) == 1200

    # The newest message stays, so that SQLite does not reuse its id; its delivery is marked as expired.
    assert foreign.execute("SELECT id FROM messages") == [[1200]]
    assert [(receipt.state, receipt.reason is not None) for receipt in bus.receipts(1200)] == [("expired", True)]
    assert foreign.value("SELECT count(*) FROM deliveries") == 1
    assert bus.send(WORKER, "job").id == 1201
    assert [message.id for message in bus.claim(max=10)] == [1201]
