"""Take the mail of an address as it comes: `disk_reader DB ADDRESS auto|manual|socket`; one JSON line for each thing.

With `socket` it goes through the helper, and DB is the path of its socket.

`{"waits": true}` once it is about to wait, `{"id"}` for a message, and `{"error"}` where the loop has ended with one:
then it begins another, as a program does that reads on; the line says so.
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
    db, address, how = sys.argv[1:]
    bus: BusClient | Client
    with Client(db, address) if how == "socket" else BusClient.at(address, db) as bus:
        _say(waits=True)
        while True:
            try:
                for message in bus.listen(ack="manual" if how == "manual" else "auto"):
                    if how == "manual":
                        bus.ack(message.id)
                    _say(id=message.id)
            except DatabaseError as error:
                _say(error=type(error).__name__)
            time.sleep(_PAUSE_S)


def _say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    main()
