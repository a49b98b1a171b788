"""Receive at an address: `reader DB ADDRESS auto|manual|socket`; it prints one JSON line for each event.

With `socket` it receives through the server, and DB is the path of the socket. The events are `{"waits": true}` before
the first wait, `{"id"}` for a message, and `{"error"}` if an error ended the loop; then it starts another loop.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from raven import BusClient, DatabaseError
from raven_rpc import Client

_PAUSE_S = 0.05


def main() -> None:
    db, address, mode = sys.argv[1:]
    bus: BusClient | Client
    with Client(db, address) if mode == "socket" else BusClient.at(address, db) as bus:
        _print(waits=True)
        while True:
            try:
                for message in bus.listen(ack="manual" if mode == "manual" else "auto"):
                    if mode == "manual":
                        bus.ack(message.id)
                    _print(id=message.id)
            except DatabaseError as error:
                _print(error=type(error).__name__)
            time.sleep(_PAUSE_S)


def _print(**event: Any) -> None:
    print(json.dumps(event), flush=True)


if __name__ == "__main__":
    main()
