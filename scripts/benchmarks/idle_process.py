"""An idle process, whose memory the benchmark reads: prints a line when its memory no longer changes.

usage: python -m scripts.benchmarks.idle_process driver|client|ROLE DB     ROLE: a subscriber, one line per message
"""

from __future__ import annotations

import sys


def main(kind: str, db: str) -> None:
    if kind == "driver":
        import apsw  # noqa: F401 only its memory counts

        _wait()
        return
    from raven import BusClient

    with BusClient.at(f"{kind}:bench", db) as bus:
        if kind == "client":
            bus.send("absent:bench", "work")
            _wait()
            return
        # This interval is so long that each message was pushed, not polled.
        for message in bus.listen(poll_interval_s=3600):
            print(message.id, flush=True)


def _wait() -> None:
    print("ready", flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    main(*sys.argv[1:])
