"""Do one thing after another, as lines tell it, so that it can be stopped in between: `... stander DB ADDRESS LEASE_S`.

| line | what it does, and prints |
|---|---|
| `begin` | begins a transaction and sends in it: `begun` |
| `commit` | ends it: `committed`, or the name of the error |
| `claim` | claims one message: its id and attempt |
| `ack` | acks what it has claimed: `acked`, or the name of the error |
| `listen` | prints `listening`, and from then on the body of each message that comes to it |
| `send ADDRESS BODY` | sends by SQL alone, as a program without raven: `sent` |
"""

from __future__ import annotations

import json
import sqlite3
import sys
from contextlib import ExitStack

from raven import BusClient, RavenError


def main() -> None:
    db, address, lease_s = sys.argv[1:]
    if address == "stranger":
        connection = sqlite3.connect(db, isolation_level=None, timeout=30)
        _say("ready")
        for line in sys.stdin:
            _, to, body = line.split()
            connection.execute(
                "INSERT INTO outbox (sender, recipient, type, body) VALUES ('stranger:abroad', ?, 'note', ?)",
                (to, json.dumps(body)),
            )
            _say("sent")
        return
    bus = BusClient.at(address, db, register=False, busy_timeout_s=10)
    transaction = ExitStack()
    claimed = 0
    _say("ready")
    for line in sys.stdin:
        try:
            match line.split():
                case ["begin"]:
                    transaction.enter_context(bus.transaction()).send("nobody:stands", "note")
                    _say("begun")
                case ["commit"]:
                    transaction.close()
                    _say("committed")
                case ["claim"]:
                    messages = bus.claim(lease_s=float(lease_s))
                    claimed = messages[0].id if messages else 0
                    _say(f"{claimed} {messages[0].attempts}" if messages else "nothing")
                case ["ack"]:
                    bus.ack(claimed)
                    _say("acked")
                case ["listen", poll_interval_s]:
                    _say("listening")
                    for msg in bus.listen(poll_interval_s=float(poll_interval_s)):
                        _say(str(msg.body))
        except RavenError as error:
            _say(type(error).__name__)


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()
