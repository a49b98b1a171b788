"""Transactions through the client of the socket: collected calls that are made together or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from raven import (
    AddressError,
    BodyError,
    BusClient,
    ClosedError,
    InputError,
    LeaseLostError,
    LostError,
    MessageNotFoundError,
    RavenError,
    UnknownAddressError,
)
from raven_rpc import Client
from raven_rpc.client.transaction import Transaction
from tests.dying_server import dying
from tests.rpc_server import Served
from tests.support import DEADLINE_S, wait_for_waiting, wait_until
from tests.thread_call import Asking

Serve = Callable[..., Served]
Connect = Callable[..., BusClient]
WORKER = "worker:s"


@pytest.fixture
def worker(serve: Serve) -> Iterator[Client]:
    with Client(serve().path, WORKER) as client:
        yield client


@pytest.fixture
def mail(connect: Connect) -> list[int]:
    """Send three messages to the worker, and return their ids."""
    return [message.id for message in connect("boss:s").send_many([{"to": WORKER, "type": "note"}] * 3)]


def within(tx: Transaction, *calls: Callable[[Transaction], None]) -> None:
    """Make calls in the block of a transaction."""
    with tx:
        for call in calls:
            call(tx)


def test_results_have_what_each_call_returned(worker: Client, mail: list[int]) -> None:
    first, second, third = worker.claim(3)

    with worker.transaction() as tx:
        tx.ack(first.id)
        tx.send("boss:s", "done", {"n": 1}, tags=["x"], dedup_key="k")
        tx.send_many([{"to": ["a:s", "b:s"], "type": "x"}, {"to": "c:s", "type": "y", "max_attempts": 1}])
        tx.reply(second, "fine", urgency="fyi")
        tx.nack(second.id, 60, "later")
        tx.extend(third.id, 600)

    acked, sent, many, answer, state, extended = tx.results
    assert (acked, state, extended) == (None, "delivered", None)
    assert (sent.sender, sent.to, sent.body, sent.tags, sent.duplicate) == (WORKER, "boss:s", {"n": 1}, ("x",), False)
    assert [(message.to, message.type) for message in many] == [(("a:s", "b:s"), "x"), ("c:s", "y")]
    assert (answer.to, answer.reply_to, answer.urgency) == ("boss:s", second.id, "fyi")
    assert [worker.read(id).state for id in mail] == ["acked", "delivered", "delivered"]
    assert worker.read(second.id).reason == "later"


def test_a_claim_may_be_part_of_a_transaction_and_its_leases_are_remembered(
    worker: Client, mail: list[int], connect: Connect
) -> None:
    with worker.transaction() as tx:
        tx.send("boss:s", "busy")
        tx.claim(2, lease_s=0.05)
        assert tx.results == []
    claimed = tx.results[1]
    assert [message.id for message in claimed] == mail[:2]
    other, first = connect(WORKER), claimed[0].id
    wait_until(lambda: first in [message.id for message in other.claim(9, lease_s=600)], "the end of the lease")

    with pytest.raises(LeaseLostError, match="another consumer holds it"):
        worker.ack(first)


@pytest.mark.parametrize("number", [0, 2])
def test_an_error_tells_the_number_of_the_call_that_was_refused(worker: Client, mail: list[int], number: int) -> None:
    calls: list[Callable[[Transaction], None]] = [lambda tx: tx.ack(mail[0])] * 3
    calls[number] = lambda tx: tx.ack(99)

    with pytest.raises(MessageNotFoundError, match=rf"call {number} \(ack\) of the transaction: .*#99") as caught:
        within(worker.transaction(), *calls)

    assert caught.value.call == number
    with pytest.raises(MessageNotFoundError) as alone:
        worker.ack(99)
    assert alone.value.call is None


def test_nothing_is_done_before_the_end_of_the_block(worker: Client, mail: list[int], connect: Connect) -> None:
    observer = connect("watcher:s")

    with worker.transaction() as tx:
        tx.ack(mail[0])
        tx.send("boss:s", "done")
        inside = (observer.last_id(), observer.receipts(mail[0])[0].state, tx.results)

    assert inside == (mail[-1], "sent", [])
    assert (observer.last_id(), observer.receipts(mail[0])[0].state) == (mail[-1] + 1, "acked")


def test_a_waiting_recipient_is_woken_after_the_transaction(worker: Client, connect: Connect) -> None:
    boss = connect("boss:s")
    listening = Asking(lambda: next(boss.listen(poll_interval_s=60, timeout_s=DEADLINE_S)))
    wait_for_waiting(boss.db_path, "boss:s")

    with worker.transaction() as tx:
        tx.send("boss:s", "done")

    assert listening.outcome().id == tx.results[0].id
    assert tx.results[0].waiting == {"boss:s": True}


@pytest.mark.parametrize(
    ("refused", "kind", "said"),
    [
        (lambda tx: tx.ack(99), MessageNotFoundError, "there is no message #99"),
        (lambda tx: tx.send("*:ghost", "x"), UnknownAddressError, "no registered address matches"),
        (lambda tx: tx.reply(99, "x"), MessageNotFoundError, "there is no message #99"),
        (lambda tx: tx.extend(3), LeaseLostError, "the lease on message #3 is lost"),
        (lambda tx: tx.send("a:s", "x", "x" * (5 << 20)), BodyError, "5,242,882 bytes as JSON"),
    ],
)
def test_a_call_that_is_refused_undoes_the_others(
    worker: Client, mail: list[int], refused: Callable[[Any], None], kind: type[RavenError], said: str
) -> None:
    tx = worker.transaction()

    with pytest.raises(kind, match=said):
        within(
            tx, lambda tx: tx.ack(mail[0]), lambda tx: tx.send("boss:s", "done"), refused, lambda tx: tx.ack(mail[1])
        )

    assert tx.results == []
    assert (worker.last_id(), [message.id for message in worker.claim(9)]) == (mail[-1], mail)


@pytest.mark.parametrize(
    ("wrong", "kind", "said"),
    [
        (lambda tx: tx.send("nobody", "x"), AddressError, "'nobody' has no ':'"),
        (lambda tx: tx.send("a:s", "x", {1}), BodyError, "is not JSON"),
        (lambda tx: tx.send("a:s", "x", urgency="now"), InputError, "urgency 'now'"),
        (lambda tx: tx.send("a:s", "x", colour="red"), TypeError, "colour"),
        (lambda tx: tx.send_many([{"to": "a:s"}]), InputError, "'type' is missing"),
        (lambda tx: tx.reply("1", "x"), InputError, "'1' is neither a message nor an id"),
        (lambda tx: tx.ack("1"), InputError, "id '1'"),
        (lambda tx: tx.ack(0), MessageNotFoundError, "there is no message #0"),
        (lambda tx: tx.nack(1, float("nan")), InputError, "delay_s nan"),
        (lambda tx: tx.extend(1, 0), InputError, "lease_s 0"),
        (lambda tx: tx.inbox(), InputError, "inbox is not possible in a transaction through the server"),
        (lambda tx: tx.execute("SELECT 1"), InputError, "execute is not possible in a transaction"),
        (lambda tx: tx.fly(), AttributeError, "no attribute 'fly'"),
    ],
)
def test_what_is_wrong_is_said_at_once_and_may_be_caught_there(
    worker: Client, mail: list[int], wrong: Callable[[Any], None], kind: type[Exception], said: str
) -> None:
    with worker.transaction() as tx:
        tx.ack(mail[0])
        with pytest.raises(kind, match=said):
            wrong(tx)

    assert tx.results == [None]
    assert worker.read(mail[0]).state == "acked"


def test_an_exception_that_leaves_the_block_sends_nothing(worker: Client, mail: list[int]) -> None:
    tx = worker.transaction()

    with pytest.raises(ZeroDivisionError):
        within(tx, lambda tx: tx.ack(mail[0]), lambda tx: tx.send("boss:s", "done", 1 / 0))

    assert (worker.last_id(), worker.read(mail[0]).state, tx.results) == (mail[-1], "sent", [])


def test_a_late_ack_undoes_what_was_made_of_the_message(worker: Client, mail: list[int], connect: Connect) -> None:
    late = worker.claim(lease_s=0.05)[0]
    other = connect(WORKER)
    wait_until(lambda: late.id in [message.id for message in other.claim(9, lease_s=600)], "the end of the lease")

    with pytest.raises(LeaseLostError, match="another consumer holds it"):
        within(worker.transaction(), lambda tx: tx.send("boss:s", "made of it"), lambda tx: tx.ack(late.id))

    assert worker.last_id() == mail[-1]


def test_a_lease_that_ended_in_a_transaction_is_not_remembered(
    worker: Client, mail: list[int], connect: Connect
) -> None:
    claimed = worker.claim(2)
    with worker.transaction() as tx:
        for message in claimed:
            tx.nack(message.id)
    connect(WORKER).claim(2, lease_s=600)

    worker.ack(claimed[0].id)  # with the lease that it had this would be refused

    assert worker.read(claimed[0].id).state == "acked"


def test_a_transaction_that_was_undone_leaves_its_leases_as_they_were(worker: Client, mail: list[int]) -> None:
    claimed = worker.claim(lease_s=600)[0]
    with pytest.raises(MessageNotFoundError):
        within(worker.transaction(), lambda tx: tx.ack(claimed.id), lambda tx: tx.ack(99))

    worker.extend(claimed.id, 1200)
    with worker.transaction() as tx:
        tx.ack(claimed.id)

    assert worker.read(claimed.id).state == "acked"


def test_an_answer_to_a_request_may_be_part_of_a_transaction(worker: Client, connect: Connect) -> None:
    boss = connect("boss:s")
    asking = Asking(lambda: boss.request(WORKER, "add", timeout_s=DEADLINE_S))
    asked = wait_until(worker.claim, "the request")[0]

    with worker.transaction() as tx:
        tx.reply(asked.id, "sum", 3)
        tx.ack(asked.id)

    answer = asking.outcome()
    assert (answer.type, answer.body) == ("sum", 3)


def test_a_transaction_whose_answer_is_lost_is_not_asked_for_twice(tmp_path: Path) -> None:
    path = str(tmp_path / "dying.sock")
    with dying(path) as asked, Client(path, WORKER, connect_timeout_s=5) as bus:
        with pytest.raises(LostError, match="may have been done"):
            within(bus.transaction(), lambda tx: tx.ack(1), lambda tx: tx.send("boss:s", "done", dedup_key="k"))

        assert [[call["method"] for call in request["params"]["calls"]] for request in asked] == [["ack", "send"]]


def test_an_empty_transaction_asks_for_nothing(tmp_path: Path) -> None:
    with Client(str(tmp_path / "none.sock"), WORKER).transaction() as tx:
        pass

    assert tx.results == []


def test_a_transaction_has_its_block_and_no_other(worker: Client, mail: list[int]) -> None:
    tx = worker.transaction()
    with pytest.raises(InputError, match="was not entered"):
        tx.ack(mail[0])
    with tx:
        tx.ack(mail[0])
    with pytest.raises(InputError, match="is over"):
        tx.ack(mail[1])
    with pytest.raises(InputError, match="entered once"), tx:
        pass
    worker.close()
    with pytest.raises(ClosedError), worker.transaction():
        pass
