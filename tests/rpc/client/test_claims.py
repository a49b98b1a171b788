"""Claims through the client of the socket: the leases that it remembers outlive its connections."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator

import pytest

from raven import BusClient, DatabaseError, LeaseLostError, Message, RavenError
from raven.host.bus import HostedBus
from raven_rpc import Client
from tests.rpc.client.relay import Relay
from tests.rpc_server import Served
from tests.support import DEADLINE_S, Foreign, wait_until
from tests.thread_call import Asking

Serve = Callable[..., Served]
Connect = Callable[..., BusClient]
Hosted = Callable[..., HostedBus]
WORKER = "worker:s"
SHORT_S = 0.05


@pytest.fixture
def worker(serve: Serve) -> Iterator[Client]:
    with Client(serve().path, WORKER) as client:
        yield client


def test_stats_of_a_bus_that_is_gone_are_an_error_and_those_of_the_server_are_not(
    worker: Client, db: str, connect: Connect
) -> None:
    connect("boss:s").send(WORKER, "note")
    os.rename(db, f"{db}.away")

    with pytest.raises(DatabaseError, match="the server cannot read the bus now: run `raven doctor`"):
        worker.stats()

    assert worker.call("stats")["connections"] == 1


@pytest.mark.parametrize("mode", ["claim", "listen", "subscribe"])
def test_a_late_ack_over_another_connection_is_refused_where_another_has_the_message(
    serve: Serve, connect: Connect, mode: str
) -> None:
    served, sent = serve(), connect("boss:s").send(WORKER, "note")

    def taken_over(bus: Client, message: Message) -> RavenError:
        assert (message.id, message.lease is not None) == (sent.id, True)
        served.stop()  # which releases the pushed messages that are not acked
        other = connect(WORKER)
        wait_until(lambda: other.claim(lease_s=600), "a message that is ready")
        serve()
        with pytest.raises(LeaseLostError) as caught:
            bus.ack(message.id)
        return caught.value

    async def subscribe(bus: Client) -> RavenError:
        messages = bus.subscribe(ack="manual")
        return taken_over(bus, await anext(messages))

    with Client(served.path, WORKER, connect_timeout_s=DEADLINE_S) as bus:
        if mode == "subscribe":
            error = asyncio.run(subscribe(bus))
        else:
            messages = iter(bus.claim(lease_s=SHORT_S)) if mode == "claim" else bus.listen(ack="manual")
            error = taken_over(bus, next(messages))

    assert "another consumer holds it" in str(error)


@pytest.mark.parametrize("in_transaction", [False, True])
@pytest.mark.parametrize("first", ["unknown claim", "claim", "loop"])
def test_the_late_answer_to_a_nack_does_not_end_the_lease_under_which_the_message_came_again(
    serve: Serve, connect: Connect, foreign: Foreign, in_transaction: bool, first: str
) -> None:
    sent = connect("boss:s").send(WORKER, "note")
    with Relay(serve().path, b'"nacked":') as relay, Client(relay.path, WORKER) as bus:
        messages = bus.listen(ack="manual")
        if first == "loop":
            next(messages)
        else:
            bus.claim(remember=first == "claim")

        def nack() -> None:
            with bus.transaction() as tx:
                (tx if in_transaction else bus).nack(sent.id)

        asking = Asking(nack)
        relay.wait_for_answer()
        assert next(messages).id == sent.id

        relay.pass_on()
        assert asking.outcome() is None
        # Another consumer takes it, in one write: between two, the server could lease it to the loop again.
        assert foreign.execute("UPDATE deliveries SET lease = 7, ready_at = ready_at + 600000000 RETURNING id")

        for _ in range(2):
            with pytest.raises(LeaseLostError):
                bus.ack(sent.id)
        messages.close()
