"""The client reconnects after a restart of the server if a call is safe to repeat; otherwise it raises LostError."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from raven import BusClient, ClosedError, LostError, UnreachableError
from raven_rpc import Client
from tests.dying_server import dying
from tests.rpc.client.client_loops import Taking
from tests.rpc_server import Served
from tests.support import DEADLINE_S, wait_for_waiting, wait_until

pytestmark = pytest.mark.process
Serve = Callable[..., Served]
Connect = Callable[..., BusClient]
WORKER = "worker:s"
MODES = pytest.mark.parametrize("mode", ["listen", "subscribe"])
ENDS = (signal.SIGTERM, signal.SIGKILL)


def test_calls_go_on_with_a_server_that_was_restarted(serve: Serve) -> None:
    served = serve()
    with Client(served.path, "boss:s") as bus:
        first = bus.send(WORKER, "note", dedup_key="k")
        bus.register("boss:s")
        for number, *steps in (
            (signal.SIGTERM, lambda: bus.send(WORKER, "note", dedup_key="k") == first),
            (signal.SIGKILL, lambda: bus.read(1).id == 1, lambda: bus.send("boss:s", "note").id == 2),
            # Without a key: the old connection is known to be closed.
            (signal.SIGTERM, lambda: bus.send(WORKER, "note").id == 3),
            (signal.SIGKILL, lambda: bus.ack(2) is None, lambda: bus.inbox() == []),
        ):
            served.stop(number)
            served = serve()
            assert all(step() for step in steps)


def test_a_server_that_comes_back_only_after_a_while_is_waited_for(serve: Serve) -> None:
    served = serve()
    with Client(served.path, "boss:s", connect_timeout_s=DEADLINE_S) as bus:
        bus.send(WORKER, "note")
        served.kill()
        back = threading.Timer(1.0, serve)
        back.start()

        assert bus.send(WORKER, "note").id == 2

        back.join()


def test_with_a_connect_timeout_of_0_an_unreachable_server_is_an_error_at_once(serve: Serve) -> None:
    served = serve()
    with Client(served.path, "boss:s", connect_timeout_s=0) as bus:
        bus.send(WORKER, "note")
        messages = bus.listen()
        served.stop()

        for call in (bus.last_id, lambda: bus.send(WORKER, "note"), lambda: next(messages)):
            with pytest.raises(UnreachableError, match="cannot be reached at"):
                call()


@MODES
def test_a_loop_goes_on_with_a_server_that_was_restarted(serve: Serve, connect: Connect, mode: str) -> None:
    boss, served = connect("boss:s"), serve()
    with Client(served.path, WORKER, connect_timeout_s=DEADLINE_S) as bus:
        taking = Taking(bus, mode)
        sent = [boss.send(WORKER, "note").id]
        for number in ENDS:
            wait_until(lambda: taking.ids() == sent, "the messages sent before")
            served.stop(number)
            sent.append(boss.send(WORKER, "note").id)  # while there is no server
            served = serve()
            sent.append(boss.send(WORKER, "note").id)

        wait_until(lambda: len(taking.taken) >= len(sent), "the messages sent after")
        assert (taking.ids(), taking.error) == (sent, None)


def test_a_tail_goes_on_without_gap_or_repeat(serve: Serve, connect: Connect) -> None:
    boss, served = connect("boss:s"), serve()
    with Client(served.path, connect_timeout_s=DEADLINE_S) as bus:
        sent = [message.id for message in boss.send_many([{"to": WORKER, "type": "note"}] * 300)]
        taking = Taking(bus, "tail")
        wait_until(lambda: taking.taken, "the beginning")
        for number in ENDS:
            served.stop(number)
            sent += [boss.send(WORKER, "note").id for _ in range(20)]
            served = serve()

        wait_until(lambda: len(taking.taken) >= len(sent), "all of it")
        assert (taking.ids(), taking.error) == (sent, None)


def test_a_manual_loop_gets_again_what_a_stopped_server_gave_back(serve: Serve, connect: Connect) -> None:
    served = serve()
    with Client(served.path, WORKER, connect_timeout_s=DEADLINE_S) as bus:
        sent = connect("boss:s").send(WORKER, "note")
        messages = bus.listen(ack="manual")
        assert next(messages).attempts == 1

        served.stop()
        served = serve()

        again = next(messages)
        assert (again.id, again.attempts) == (sent.id, 2)
        bus.ack(again.id)
        assert bus.inbox() == []


@MODES
def test_a_loop_ends_in_time_even_where_the_server_is_gone(serve: Serve, connect: Connect, mode: str) -> None:
    served = serve()
    with Client(served.path, WORKER, connect_timeout_s=600) as bus:
        taking = Taking(bus, mode, timeout_s=2)
        wait_for_waiting(served.db, WORKER)

        served.kill()

        taking.wait_for_end()
        assert (taking.taken, taking.error) == ([], None)


@MODES
def test_close_ends_a_loop_that_waits_for_a_server(serve: Serve, mode: str) -> None:
    served = serve()
    bus = Client(served.path, WORKER, connect_timeout_s=600)
    taking = Taking(bus, mode)
    wait_for_waiting(served.db, WORKER)
    served.kill()
    parts = bus._transport._parts
    wait_until(lambda: all(getattr(part, "_connection", None) is None for part in parts.values()), "the loss")

    bus.close()

    taking.wait_for_end()
    assert (taking.taken, taking.error) == ([], None)


@MODES
def test_a_loop_whose_server_stays_away_fails_after_its_connect_timeout(serve: Serve, mode: str) -> None:
    served = serve()
    with Client(served.path, WORKER, connect_timeout_s=0.2) as bus:
        taking = Taking(bus, mode)
        wait_for_waiting(served.db, WORKER)

        served.kill()

        taking.wait_for_end()
        assert isinstance(taking.error, UnreachableError)


def test_a_write_whose_connection_dies_after_it_was_asked_for_is_lost_and_not_asked_for_twice(tmp_path: Path) -> None:
    path = str(tmp_path / "dying.sock")
    with dying(path) as asked, Client(path, "boss:s", connect_timeout_s=5) as bus:
        for call in (
            lambda: bus.send(WORKER, "note"),
            lambda: bus.send_many([{"to": WORKER, "type": "note", "dedup_key": "k"}, {"to": WORKER, "type": "note"}]),
            lambda: bus.call("send", {"to": WORKER, "type": "note"}),
            lambda: bus.reply(1, "done"),
            bus.claim,
            lambda: bus.nack(1),
            lambda: bus.requeue(1),
            bus.purge_dead,
            lambda: bus.prune(0, grace_s=0),
        ):
            asked.clear()
            with pytest.raises(LostError, match="may have been done"):
                call()
            assert len(asked) == 1


def test_what_makes_no_difference_twice_is_asked_again(tmp_path: Path) -> None:
    path = str(tmp_path / "dying.sock")
    with dying(path) as asked, Client(path, "boss:s", connect_timeout_s=0.3) as bus:
        for call in (
            lambda: bus.send(WORKER, "note", dedup_key="k"),
            lambda: bus.send_many([{"to": WORKER, "type": "note", "dedup_key": "k"}]),
            lambda: bus.reply(1, "done", dedup_key="k"),
            lambda: bus.ack(1),
            lambda: bus.extend(1),
            lambda: bus.receipts(1),
            lambda: bus.thread(1),
            bus.dead,
            bus.inbox,
            bus.peers,
        ):
            asked.clear()
            with pytest.raises(LostError):
                call()
            assert len(asked) > 1
            assert len({json.dumps({**request, "id": 0}) for request in asked}) == 1


def test_an_answer_that_comes_too_late_is_not_taken_for_the_next(serve: Serve, connect: Connect) -> None:
    served = serve()
    with Client(served.path, "boss:s", timeout_s=2, connect_timeout_s=0) as bus:
        bus.last_id()
        served.process.send_signal(signal.SIGSTOP)
        with pytest.raises(LostError, match=r"no answer to last_id came .* within 2 s"):
            bus.last_id()
        served.process.send_signal(signal.SIGCONT)

        assert [message.sender for message in bus.send_many([{"to": WORKER, "type": "note"}])] == ["boss:s"]


def test_a_closed_client_does_not_wait_for_a_server(tmp_path: Path) -> None:
    bus = Client(str(tmp_path / "none.sock"), "boss:s", connect_timeout_s=600)
    asking = Taking(bus, "inbox")
    time.sleep(0.1)  # sooner, it would be closed before it waits, which ends in the same way

    bus.close()

    asking.wait_for_end()
    assert type(asking.error) is ClosedError
