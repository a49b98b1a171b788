"""Be an honest client of a helper: `python -m scripts.stress.socket.control_client sender|reader SOCKET`.

The sender sends numbers until it reads a line, and prints how many, and how long the slowest took. The reader takes
them and acks each; it reads a line that says how many there are, and prints what became of them once all have come, or
its time is over.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter
from itertools import pairwise

from raven_rpc import Client

SENDER, READER = "sender:honest", "reader:honest"
SECRET = "for the honest alone"
_PATIENCE_S = 30.0
_PAUSE_S = 0.005
_LAST_S = 45.0
# Each turn of the reader gives back what it did not come to, and each push counts an attempt: on a busy machine five
# are soon over.
_MANY_ATTEMPTS = 1000


def send(path: str) -> None:
    """Send until told to stop."""
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.readline(), over.set()), daemon=True).start()
    count, slowest_s = 0, 0.0
    with Client(path, SENDER, timeout_s=_PATIENCE_S, connect_timeout_s=_PATIENCE_S) as bus:
        bus.register(SENDER, READER)
        print("ready", flush=True)
        while not over.wait(_PAUSE_S):
            begin = time.monotonic()
            body = {"number": count, "at": begin, "secret": SECRET}
            # With a key, so that it may be tried again: the helper may be killed before it answers.
            bus.send(READER, "number", body, dedup_key=f"{count}", max_attempts=_MANY_ATTEMPTS)
            count += 1
            slowest_s = max(slowest_s, time.monotonic() - begin)
    print(json.dumps({"count": count, "slowest_s": slowest_s}), flush=True)


def read(path: str) -> None:
    """Take what comes, until all has come."""
    numbers: list[int] = []
    slowest_s, count, give_up_at = 0.0, sys.maxsize, float("inf")

    def be_told() -> None:
        nonlocal count, give_up_at
        count, give_up_at = int(sys.stdin.readline()), time.monotonic() + _LAST_S

    threading.Thread(target=be_told, daemon=True).start()
    with Client(path, READER, timeout_s=_PATIENCE_S, connect_timeout_s=_PATIENCE_S) as bus:
        bus.register(READER)
        print("ready", flush=True)
        while len(set(numbers)) < count and time.monotonic() < give_up_at:
            for message in bus.listen(ack="manual", timeout_s=0.5):
                if message.sender == SENDER and message.type == "number":
                    numbers.append(message.body["number"])
                    slowest_s = max(slowest_s, time.monotonic() - message.body["at"])
                bus.ack(message.id)
                if len(numbers) >= count:
                    break
    found = Counter(numbers)
    report = {
        "lost": sorted(set(range(count)) - set(found))[:20],
        "duplicated": sorted(number for number, times in found.items() if times > 1)[:20],
        "reordered": sum(later < earlier for earlier, later in pairwise(numbers)),
        "slowest_s": slowest_s,
    }
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    {"sender": send, "reader": read}[sys.argv[1]](sys.argv[2])
