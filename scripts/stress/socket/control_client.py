"""Send or receive correctly: `python -m scripts.stress.socket.control_client sender|reader SOCKET`.

The sender sends numbers until it reads a line, and prints their count and the slowest time. The reader receives and
acks them; it reads the count, and prints the lost, duplicated and reordered numbers when all have come, or after a
timeout.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter
from itertools import pairwise

from raven_rpc import Client

SENDER, READER = "sender:control", "reader:control"
SECRET = "for the control reader alone"
_TIMEOUT_S = 30.0
_PAUSE_S = 0.005
_LAST_S = 45.0
# Each loop of the reader releases its unread messages, and each push counts an attempt: on a busy machine five attempts
# are soon used up.
_MANY_ATTEMPTS = 1000


def send(path: str) -> None:
    """Send until a line comes in."""
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.readline(), stop.set()), daemon=True).start()
    count, slowest_s = 0, 0.0
    with Client(path, SENDER, timeout_s=_TIMEOUT_S, connect_timeout_s=_TIMEOUT_S) as bus:
        bus.register(SENDER, READER)
        print("ready", flush=True)
        while not stop.wait(_PAUSE_S):
            begin = time.monotonic()
            body = {"number": count, "at": begin, "secret": SECRET}
            # With a dedup_key the client may repeat the call: the server may be killed before it answers.
            bus.send(READER, "number", body, dedup_key=f"{count}", max_attempts=_MANY_ATTEMPTS)
            count += 1
            slowest_s = max(slowest_s, time.monotonic() - begin)
    print(json.dumps({"count": count, "slowest_s": slowest_s}), flush=True)


def read(path: str) -> None:
    """Receive until all messages have come."""
    numbers: list[int] = []
    slowest_s, count, deadline = 0.0, sys.maxsize, float("inf")

    def read_count() -> None:
        nonlocal count, deadline
        count, deadline = int(sys.stdin.readline()), time.monotonic() + _LAST_S

    threading.Thread(target=read_count, daemon=True).start()
    with Client(path, READER, timeout_s=_TIMEOUT_S, connect_timeout_s=_TIMEOUT_S) as bus:
        bus.register(READER)
        print("ready", flush=True)
        while len(set(numbers)) < count and time.monotonic() < deadline:
            for message in bus.listen(ack="manual", timeout_s=0.5):
                if message.sender == SENDER and message.type == "number":
                    numbers.append(message.body["number"])
                    slowest_s = max(slowest_s, time.monotonic() - message.body["at"])
                bus.ack(message.id)
                if len(numbers) >= count:
                    break
    counts = Counter(numbers)
    report = {
        "lost": sorted(set(range(count)) - set(counts))[:20],
        "duplicated": sorted(number for number, times in counts.items() if times > 1)[:20],
        "reordered": sum(later < earlier for earlier, later in pairwise(numbers)),
        "slowest_s": slowest_s,
    }
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    {"sender": send, "reader": read}[sys.argv[1]](sys.argv[2])
