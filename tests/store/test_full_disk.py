"""No space for a client, a subscriber or the server: each waits or fails with a clear error, and recovers."""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from raven import BusClient, ConfigError, DatabaseError, DiskFullError
from raven.exchange.exchange import Exchange
from raven_rpc import Client
from scripts.harness.program import Program
from tests.rpc_server import Served
from tests.support import DEADLINE_S, descriptors

Connect = Callable[..., BusClient]
Serve = Callable[..., Served]

only_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits another process")


@contextmanager
def no_space_for(pid: int) -> Iterator[None]:
    """Let a process write to no file, as if each had reached its size limit."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))


def test_a_client_that_cannot_be_created_leaves_nothing_open_even_if_its_error_is_kept(
    db: str, connect: Connect
) -> None:
    connect("boss:s").close()
    before = descriptors()

    with pytest.raises(ConfigError) as refused:
        BusClient.at("worker:s", db, max_body_bytes=0)

    assert refused.value.__traceback__ is not None
    assert descriptors() == before


@only_linux
def test_a_transaction_with_user_sql_that_cannot_be_committed_raises_disk_full(connect: Connect) -> None:
    bus = connect("boss:s")
    bus.execute("CREATE TABLE done (id)")

    def work() -> None:
        with bus.transaction() as tx:
            tx.send("worker:s", "note")
            tx.execute("INSERT INTO done VALUES (1)")

    with no_space_for(os.getpid()), pytest.raises(DiskFullError):
        work()

    assert bus.last_id() == 0
    assert bus.execute("SELECT * FROM done") == []
    assert bus.send("worker:s", "note").id == 1


@pytest.mark.parametrize("is_linked", [False, True])
def test_a_block_whose_ack_finds_no_space_is_undone_by_sqlite_with_a_link_as_without(
    db: str, connect: Connect, is_linked: bool
) -> None:
    def ack_each(ack: Callable[[int], object], ids: list[int]) -> None:
        for one in ids:
            ack(one)

    if is_linked:
        Exchange(db, "alpha").close()
    bus = connect("worker:s")
    sent = [receipt.id for receipt in bus.send_many([{"to": "worker:s", "type": "job"}] * 600)]
    bus._store.usable.execute("PRAGMA max_page_count = 1")  # type: ignore[union-attr]
    with pytest.raises(DiskFullError):
        ack_each(bus.ack, sent)
    left = [message.id for message in bus.inbox(peek=True, max=600)]

    def work() -> None:
        with bus.transaction() as tx:
            with pytest.raises(DiskFullError):
                ack_each(tx.ack, left)
            tx.send("worker:s", "job")

    with pytest.raises(DatabaseError, match="rolled back by an earlier error"):
        work()

    bus._store.usable.execute("PRAGMA max_page_count = 100000")  # type: ignore[union-attr]
    assert [message.id for message in bus.inbox(peek=True, max=700)] == left
    bus.ack(left[0])
    assert [message.id for message in bus.inbox(peek=True, max=700)] == left[1:]


@only_linux
@pytest.mark.parametrize("ack", ["auto", "manual"])
def test_a_loop_that_cannot_consume_raises_and_the_next_loop_gets_the_mail(db: str, connect: Connect, ack: str) -> None:
    boss = connect("boss:s")
    with Program("stress.disk.reader", db, "worker:s", ack) as reader:
        assert json.loads(reader.line(DEADLINE_S)) == {"waits": True}
        with no_space_for(reader.pid):
            sent = boss.send("worker:s", "note").id
            failure = json.loads(reader.line(DEADLINE_S))
            states = [receipt.state for receipt in boss.receipts(sent)]
        while "error" in (later := json.loads(reader.line(DEADLINE_S))):
            pass

    assert failure == {"error": "DiskFullError"}
    assert states == ["sent"]
    assert later == {"id": sent}


@only_linux
@pytest.mark.process
def test_a_subscription_over_the_socket_waits_until_there_is_space(connect: Connect, serve: Serve) -> None:
    boss = connect("boss:s")
    served = serve()
    with Program("stress.disk.reader", served.path, "worker:s", "socket") as reader:
        assert json.loads(reader.line(DEADLINE_S)) == {"waits": True}
        with Client(served.path, "boss:s") as client:
            client.send("other:s", "note")
            with no_space_for(served.pid):
                sent = boss.send("worker:s", "note").id
                with pytest.raises(DiskFullError) as refused:
                    client.send("other:s", "note")
                states = [receipt.state for receipt in boss.receipts(sent)]
            client.send("other:s", "note")
        received = json.loads(reader.line(DEADLINE_S))

    assert refused.value.retryable
    assert states == ["sent"]
    assert received == {"id": sent}
    assert "Traceback" not in served.log()
