"""The bus under the bridge: locked, gone, full; and requests that come in the wrong state."""

from __future__ import annotations

import json
import resource
import socket
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from raven import BusClient
from raven.host import limits
from raven_http.api import body
from raven_http.api.status import STATUSES
from raven_rpc.jsonrpc.errors import ERROR_CODES
from tests.http_bridge import BridgeHere
from tests.support import Foreign, wait_until

Serve = Callable[..., BridgeHere]
Connect = Callable[..., BusClient]
SEND = {"from": "boss:s", "to": "worker:s", "type": "job"}
MIB = 1024 * 1024


def test_every_kind_of_error_has_a_status() -> None:
    assert {entry.kind for entry in ERROR_CODES.values()} < STATUSES.keys()


# Deliveries


def test_a_message_goes_from_send_to_ack_with_the_lease_of_its_claim(bridge: Serve, connect: Connect) -> None:
    served = bridge()
    sent = served.post("/send", json=SEND).json()

    [claimed] = served.post("/claim", json={"role": "worker:s", "lease_s": 60}).json()["messages"]
    lease = {"id": sent["id"], "lease": claimed["lease"]}
    extended = served.post("/extend", json={**lease, "lease_s": 90})
    nacked = served.post("/nack", json={**lease, "reason": "later"})
    [again] = served.post("/claim", json={"role": "worker:s"}).json()["messages"]
    late = served.post("/ack", json=lease)
    acked = served.post("/ack", json={"id": sent["id"], "lease": again["lease"]})

    assert extended.json() == {"extended": sent["id"]}
    assert nacked.json() == {"nacked": sent["id"], "state": "delivered"}
    assert (late.status_code, late.json()["error"]) == (409, "lease_lost")
    assert (again["attempts"], again["reason"], acked.json()) == (2, "later", {"acked": [sent["id"]]})
    assert connect("boss:s").receipts(sent["id"])[0].state == "acked"


def test_the_lease_of_another_client_is_not_taken_over(bridge: Serve, connect: Connect) -> None:
    worker, served = connect("worker:s"), bridge()
    served.post("/send", json=SEND)
    [mine] = worker.claim(lease_s=0.01)
    [other] = wait_until(lambda: served.post("/claim", json={"role": "worker:s"}).json()["messages"], "the lease's end")

    refused = served.post("/ack", json={"id": 1, "lease": mine.lease})

    assert (refused.status_code, mine.lease == other["lease"]) == (409, False)


def test_the_dead_are_shown_and_requeued(bridge: Serve, connect: Connect) -> None:
    worker, served = connect("worker:s"), bridge()
    for _ in range(2):
        sent = served.post("/send", json={**SEND, "max_attempts": 1}).json()
        worker.nack(worker.claim()[0].id, reason="broken")

    dead = served.get("/dead", params={"role": ["worker:s", "other:s"]}).json()["messages"]
    requeued = served.post("/requeue", json={"ids": [sent["id"]]}), served.post("/requeue", json={"all": True})

    assert [(message["state"], message["reason"]) for message in dead] == [("dead", "broken")] * 2
    assert [answer.json() for answer in requeued] == [{"requeued": 1}] * 2
    assert [message.id for message in worker.claim(9)] == [1, 2]


def test_threads_and_histories_are_filtered(bridge: Serve) -> None:
    served = bridge()
    first = served.post("/send", json={**SEND, "correlation_id": 7, "dedup_key": "k"}).json()
    again = served.post("/send", json={**SEND, "correlation_id": 8, "dedup_key": "k"}).json()
    reply = served.post(f"/reply/{first['id']}", json={"from": "worker:s", "type": "done"}).json()
    served.post("/send", json={**SEND, "to": "other:s", "correlation_id": 7})

    def ids(path: str, **params: Any) -> list[int]:
        return [message["id"] for message in served.get(path, params=params).json()["messages"]]

    assert (again["id"], again["duplicate"], reply["reply_to"]) == (first["id"], True, first["id"])
    assert ids(f"/thread/{reply['id']}") == [1, 2]
    assert ids("/history", correlation_id="7") == [1, 2, 3]
    assert ids("/history", correlation_id="7", role=["worker:s"]) == [1, 2]
    assert ids("/history", task_id="7") == []
    assert ids("/inbox", role="worker:s", max=1) == [1]


# Writes


def test_sends_at_once_are_committed_together(bridge: Serve, foreign: Foreign) -> None:
    served = bridge()
    served.post("/send", json=SEND)
    before = served.get("/stats").json()["commits"]
    foreign.execute("BEGIN IMMEDIATE")
    clients = [served.client() for _ in range(16)]
    with ThreadPoolExecutor(len(clients)) as pool:
        answers = [pool.submit(client.post, "/send", json=SEND) for client in clients]
        wait_until(lambda: served.get("/stats").json()["waiting_writes"] == 16, "the writes")
        foreign.execute("ROLLBACK")
        ids = sorted(answer.result().json()["id"] for answer in answers)

    assert ids == list(range(2, 18))
    assert served.get("/stats").json()["commits"] - before <= 3


def test_a_write_whose_client_has_gone_is_done_nevertheless(bridge: Serve, foreign: Foreign, connect: Connect) -> None:
    served = bridge()
    served.post("/send", json=SEND)
    foreign.execute("BEGIN IMMEDIATE")
    text = json.dumps(SEND).encode()
    with socket.create_connection(("127.0.0.1", served.port)) as client:
        head = f"POST /send HTTP/1.1\r\nhost: 127.0.0.1:{served.port}\r\ncontent-type: application/json\r\n"
        client.sendall(f"{head}content-length: {len(text)}\r\n\r\n".encode() + text)
        wait_until(lambda: served.get("/stats").json()["waiting_writes"] == 1, "the write")
    foreign.execute("ROLLBACK")

    assert wait_until(lambda: connect("boss:s").last_id() == 2, "the message")
    assert served.log() == ""


def test_a_locked_bus_is_worth_a_second_try(bridge: Serve, foreign: Foreign) -> None:
    served = bridge(busy_timeout_s=0.1)
    served.post("/send", json=SEND)
    foreign.execute("BEGIN IMMEDIATE")

    refused = served.post("/send", json=SEND)
    reads = [served.get(path).status_code for path in ("/health", "/inbox?role=worker:s", "/message/1", "/stats")]
    foreign.execute("ROLLBACK")

    assert (refused.status_code, refused.json()["error"], refused.headers["retry-after"]) == (503, "busy", "1")
    assert reads == [200] * 4
    assert served.post("/send", json=SEND).status_code == 200


def test_a_bus_that_is_gone_is_said_without_its_path(bridge: Serve, db: str) -> None:
    served = bridge()
    served.post("/send", json=SEND)
    Path(db).unlink()

    for answer in (served.post("/send", json=SEND), served.get("/inbox?role=worker:s"), served.get("/health")):
        assert (answer.status_code, answer.json()["error"]) == (503, "file_missing")
        assert str(Path(db).parent) not in answer.text
    assert served.get("/stats").json()["bus"] is None


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of another process")
def test_on_a_full_disk_a_send_is_refused_until_there_is_room(bridge: Serve) -> None:
    served = bridge()
    served.post("/send", json=SEND)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    try:
        refused = served.post("/send", json={**SEND, "body": "x" * MIB})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert (refused.status_code, refused.json()["error"], refused.headers["retry-after"]) == (507, "disk_full", "1")
    assert served.post("/send", json={**SEND, "body": "x" * MIB}).status_code == 200


def test_a_read_only_bridge_writes_nothing(bridge: Serve, connect: Connect) -> None:
    served = bridge(read_only=True)

    refused = served.post("/send", json=SEND)

    assert (refused.status_code, refused.json()["error"]) == (403, "forbidden")
    assert (served.get("/inbox?role=worker:s").json(), connect("boss:s").last_id()) == ({"messages": []}, 0)


# Long bodies and answers


def test_a_body_of_4_mib_comes_through_and_a_longer_one_is_named(bridge: Serve, connect: Connect) -> None:
    served, text = bridge(), "\u20ac" * ((4 * MIB - 2) // 3)

    sent = served.post("/send", json={**SEND, "body": text})
    refused = served.post("/send", json={**SEND, "body": text + "\u20ac"})
    too_many = served.post("/send", json={**SEND, "body": [0] * 2_000_001})

    assert (sent.status_code, connect("worker:s").inbox()[0].body) == (200, text)
    assert (refused.status_code, refused.json()["error"]) == (422, "body")
    assert (too_many.status_code, too_many.json()["error"]) == (422, "limit")
    assert "`values`" in too_many.json()["detail"]


def test_a_message_over_a_page_is_shown_without_its_body(bridge: Serve, foreign: Foreign) -> None:
    served = bridge()
    for _ in range(2):
        served.post("/send", json=SEND)
    foreign.execute("UPDATE messages SET body = ? WHERE id = 1", json.dumps("x" * 20_000_000))

    answer = served.post("/claim", json={"role": "worker:s", "max": 2})

    assert [message.get("truncated") for message in answer.json()["messages"]] == [True, None]
    assert len(served.get("/message/1").json()["body"]) == 20_000_000


def test_an_answer_that_is_not_read_leaves_no_room_for_another_page_until_it_is(bridge: Serve) -> None:
    served = bridge(limits={"memory": 32 * MIB})
    for _ in range(2):
        served.post("/send", json={**SEND, "body": "x" * (4 * MIB - 2)})
    head = f"GET /inbox?role=worker:s HTTP/1.1\r\nhost: 127.0.0.1:{served.port}\r\nconnection: close\r\n\r\n"
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    with client:
        client.connect(("127.0.0.1", served.port))
        client.sendall(head.encode())
        assert client.recv(12) == b"HTTP/1.1 200"
        refused = served.get("/inbox?role=worker:s")
        small = served.post("/send", json=SEND)
        size = sum(map(len, iter(lambda: client.recv(MIB), b"")))

    assert (refused.status_code, refused.json()["error"], refused.headers["retry-after"]) == (429, "limit", "1")
    assert (small.status_code, size > 8 * MIB) == (200, True)
    assert wait_until(lambda: served.get("/inbox?role=worker:s").status_code == 200, "room")


def test_a_slow_long_body_gives_its_place_to_others(bridge: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PATIENCE_S", 0.2)
    served = bridge(limits={"memory": 1})
    head = f"POST /send HTTP/1.1\r\nhost: 127.0.0.1:{served.port}\r\ncontent-type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", served.port), 20) as slow:
        slow.sendall(f"{head}content-length: {MIB}\r\n\r\n".encode() + b" " * (2 * body.LONG))
        other = threading.Thread(target=served.post, args=("/send",), kwargs={"json": {**SEND, "body": "x" * MIB}})
        wait_until(lambda: served.get("/stats").status_code == 200, "the server")
        other.start()
        answer = slow.recv(4096)
        other.join(20)

    assert answer.startswith(b"HTTP/1.1 408")
    assert served.get("/message/1").status_code == 200
