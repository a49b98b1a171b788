"""A process that replies to each message with the same body.

usage: python -m scripts.benchmarks.pong DB ADDRESS
"""

from __future__ import annotations

import sys

from raven import BusClient


def main(db: str, address: str) -> None:
    with BusClient.at(address, db) as bus:
        for message in bus.listen():
            bus.reply(message, "pong", message.body)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
