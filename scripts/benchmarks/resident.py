"""A process that only is there, for its memory to be read: prints a line when it is as it will stay.

usage: python -m scripts.benchmarks.resident driver|client|ROLE DB     a subscriber of that role prints one a message
"""

from __future__ import annotations

import sys


def main(kind: str, db: str) -> None:
    if kind == "driver":
        import apsw  # noqa: F401 to hold it is all that is asked

        _stay()
        return
    from raven import BusClient

    with BusClient.at(f"{kind}:bench", db) as bus:
        if kind == "client":
            bus.send("nobody:bench", "work")
            _stay()
            return
        # So seldom does it look by itself that it was woken for what it takes.
        for message in bus.listen(poll_interval_s=3600):
            print(message.id, flush=True)


def _stay() -> None:
    print("here", flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    main(*sys.argv[1:])
