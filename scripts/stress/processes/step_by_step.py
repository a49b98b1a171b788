"""Do one step per input line, so that a trial can stop the process between two: `... step_by_step DB ADDRESS LEASE_S`.

| line | step and output |
|---|---|
| `begin` | begins a transaction and sends in it: `begun` |
| `commit` | commits it: `committed`, or the name of the error |
| `claim` | claims one message: its id and attempt |
| `ack` | acks the claimed message: `acked`, or the name of the error |
| `listen` | prints `listening`, and from then on the body of each message that arrives |
| `send ADDRESS BODY` | sends by SQL alone, as a program without raven: `sent` (only with the ADDRESS `external`) |
"""

from __future__ import annotations

import json
import sqlite3
import sys
from contextlib import ExitStack

from raven import BusClient, RavenError


def main() -> None:
    db, address, lease_s = sys.argv[1:]
    if address == "external":
        connection = sqlite3.connect(db, isolation_level=None, timeout=30)
        _print("ready")
        for line in sys.stdin:
            _, to, body = line.split()
            connection.execute(
                "INSERT INTO outbox (sender, recipient, type, body) VALUES ('external:abroad', ?, 'note', ?)",
                (to, json.dumps(body)),
            )
            _print("sent")
        return
    bus = BusClient.at(address, db, register=False, busy_timeout_s=10)
    transaction = ExitStack()
    claimed = 0
    _print("ready")
    for line in sys.stdin:
        try:
            match line.split():
                case ["begin"]:
                    transaction.enter_context(bus.transaction()).send("unread:steps", "note")
                    _print("begun")
                case ["commit"]:
                    transaction.close()
                    _print("committed")
                case ["claim"]:
                    messages = bus.claim(lease_s=float(lease_s))
                    claimed = messages[0].id if messages else 0
                    _print(f"{claimed} {messages[0].attempts}" if messages else "nothing")
                case ["ack"]:
                    bus.ack(claimed)
                    _print("acked")
                case ["listen", poll_interval_s]:
                    _print("listening")
                    for msg in bus.listen(poll_interval_s=float(poll_interval_s)):
                        _print(str(msg.body))
        except RavenError as error:
            _print(type(error).__name__)


def _print(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()
