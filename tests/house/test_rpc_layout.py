"""The public names of `raven_rpc`, and the modules that its client loads."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import raven_rpc
from tests.rpc_server import Served


def test_the_public_names_of_the_server_are_exactly_these() -> None:
    assert sorted(raven_rpc.__all__) == ["Client", "Server", "serve"]
    assert all(getattr(raven_rpc, name) for name in raven_rpc.__all__)


def test_a_client_needs_nothing_of_the_server() -> None:
    program = "import sys; from raven_rpc import Client; Client('x'); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()

    assert not {"jsonrpcserver", "pydantic", "apsw", "watchfiles", "asyncio"} & set(loaded)


def test_a_client_works_where_there_is_no_sqlite(serve: Callable[..., Served]) -> None:
    program = """
import asyncio, sys
sys.modules["apsw"] = sys.modules["sqlite3"] = None  # an import of either raises ImportError
from raven_rpc import Client

async def take(bus):
    async for message in bus.subscribe():
        return message.body

with Client(sys.argv[1], "worker:s") as bus:
    sent = bus.send("worker:s", "note", 1)
    bus.send_many([{"to": "worker:s", "type": "note", "body": number} for number in (2, 3)])
    for message in bus.claim(lease_s=60):
        bus.ack(message.id)
    with bus.transaction() as tx:
        tx.claim()
        tx.reply(sent, "fine")
    taken = [next(bus.listen()).body, asyncio.run(take(bus))]
    assert bus.wait_receipt(sent.id, timeout_s=30)[0].state == "acked"
    print(taken, [peer.address for peer in bus.peers()], bus.stats().messages, bus.prune(0, grace_s=0).messages)
"""
    done = subprocess.run([sys.executable, "-c", program, serve().path], capture_output=True, text=True, check=False)

    assert (done.stdout.strip(), done.stderr) == ("[3, None] ['worker:s'] 4 2", "")
