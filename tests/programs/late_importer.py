"""Serve a bus, call each kind of method over its socket: `late_importer.py DB`.

It prints the names of the modules of raven that were imported since the server has begun to listen.
"""

import asyncio
import json
import sys
from typing import Any

from raven_rpc.server.server import Server

(db,) = sys.argv[1:]
TO, FROM = "b:s", {"from": "a:s", "to": "b:s", "type": "x"}
CALLS: list[tuple[str, dict[str, Any]]] = [
    ("send", FROM),
    ("inbox", {"role": TO}),
    ("claim", {"role": TO}),
    ("nack", {"id": 1, "role": TO}),
    ("receipts", {"id": 1}),
    ("wait_receipt", {"id": 1, "timeout_s": 0.01}),
    ("request", {**FROM, "timeout_s": 0.01}),
    ("thread", {"id": 1}),
    ("subscribe", {"role": TO}),
    ("tail", {"from_id": 1}),
    ("transaction", {"calls": [{"method": "send", "params": FROM}]}),
    ("dead", {}),
    ("requeue", {"all": True}),
    ("purge_dead", {}),
    ("peers", {}),
    ("stats", {}),
    ("prune", {"older_than_s": 0}),
    ("forget", {"role": "gone:s"}),
    ("register", {"role": TO}),
    ("rpc.discover", {}),
]


async def run() -> list[str]:
    server, listening = Server(db, f"{db}.sock"), asyncio.Event()
    serving = asyncio.create_task(server.run(lambda _: listening.set()))
    await listening.wait()
    before = set(sys.modules)
    reader, writer = await asyncio.open_unix_connection(f"{db}.sock", limit=1 << 24)
    for number, (method, params) in enumerate(CALLS):
        asked = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        writer.write(json.dumps(asked).encode() + b"\n")
        while json.loads(await reader.readline()).get("id") != number:  # pushed messages come between
            pass
    writer.close()
    server.stop()
    await serving
    return sorted(name for name in set(sys.modules) - before if name.startswith("raven"))


print(json.dumps(asyncio.run(run())), flush=True)
