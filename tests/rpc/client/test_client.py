"""The client of the socket: its address, the one connection of its calls, and its end."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raven import BusClient, ClosedError, UnreachableError
from raven_rpc import Client
from scripts.harness.deadline import Limit
from tests.rpc_server import Served
from tests.support import DEADLINE_S, Program, wait_for_waiting
from tests.thread_call import Asking

Serve = Callable[..., Served]
Connect = Callable[..., BusClient]
Spawn = Callable[..., Program]


def test_a_client_without_an_address_looks_on_as_an_observer(serve: Serve, connect: Connect) -> None:
    boss = connect("boss:s")
    sent = boss.send(["worker:s", "other:s"], "note", correlation_id="c")
    with Client(serve().path) as bus:
        assert bus.address is None
        whole = boss.read(sent.id)
        assert (bus.read(sent.id), bus.history("c"), list(bus.tail(follow=False))) == (whole, [whole], [whole])
        assert (bus.peers(), bus.last_id()) == (boss.peers(), sent.id)


def test_a_client_of_a_bound_socket_has_its_address(serve: Serve, connect: Connect) -> None:
    connect("boss:s").send("worker:s", "note", "hello")
    with Client(serve("--as", "worker:s").path) as bus:
        assert (bus.address, [message.body for message in bus.inbox()]) == ("worker:s", ["hello"])
        assert bus.send("boss:s", "done").sender == "worker:s"
        assert [message.state for message in bus.listen(timeout_s=0.5)] == ["acked"]


def test_many_threads_share_one_client_and_none_gets_the_answer_of_another(serve: Serve) -> None:
    wrong: list[Any] = []
    with Client(serve().path, "boss:s") as bus:

        def work(name: int) -> None:
            for number in range(50):
                sent = bus.send(f"worker{name}:s", "note", [name, number])
                if (sent.body, bus.read(sent.id).body) != ([name, number], [name, number]):
                    wrong.append(sent)

        threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE_S)

        assert (wrong, bus.last_id(), bus.call("stats")["connections"]) == ([], 400, 1)


def test_a_forked_child_uses_a_connection_of_its_own(serve: Serve, spawn: Spawn) -> None:
    served = serve()
    program = spawn("rpc_forker", served.path)

    assert program.read() == {"lost": [], "children": 20}
    assert program.wait() == 0


def test_close_ends_calls_for_good_and_twice_is_allowed(serve: Serve) -> None:
    bus = Client(serve().path, "boss:s")
    bus.send("worker:s", "note")

    bus.close()
    bus.close()

    for call in (bus.last_id, bus.inbox, lambda: bus.send("worker:s", "note"), lambda: bus.call("ping")):
        with pytest.raises(ClosedError, match="is closed: make a new one"):
            call()
    assert (list(bus.listen()), list(bus.tail())) == ([], [])


def test_close_in_one_thread_ends_a_call_that_another_waits_for(tmp_path: Path) -> None:
    path = str(tmp_path / "deaf.sock")
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(path)
        deaf.listen()
        bus = Client(path, "boss:s", timeout_s=600)
        asking = Asking(bus.last_id)
        connection, _ = deaf.accept()
        with connection:
            assert json.loads(connection.recv(1000))["method"] == "last_id"

            assert Asking(bus.close).outcome() is None

            assert type(asking.outcome()) is ClosedError


@pytest.mark.process
def test_a_client_of_a_relative_path_works_and_leaves_no_descriptor(serve: Serve, tmp_path: Path) -> None:
    served = serve()
    before = len(os.listdir("/dev/fd"))
    with Client(os.path.relpath(served.path), "boss:s") as bus:
        bus.send("boss:s", "note")
        assert next(iter(bus.listen())).type == "note"
        wait_for_waiting(served.db, "boss:s", 0)
    assert len(os.listdir("/dev/fd")) == before


def test_patience_s_is_a_deprecated_name_of_connect_timeout_s(tmp_path: Path) -> None:
    with pytest.warns(DeprecationWarning, match="patience_s is deprecated: use connect_timeout_s") as warned:
        bus = Client(str(tmp_path / "none.sock"), patience_s=0)

    began = time.monotonic()
    with bus, pytest.raises(UnreachableError):
        bus.last_id()
    assert (warned[0].filename, time.monotonic() - began < Limit(2)) == (__file__, True)
