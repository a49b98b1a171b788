"""Send five jobs and then `no-more` to the consumer, which need not be running yet."""

from __future__ import annotations

import os

from agreement import CONSUMER, PRODUCER, db_path_argument

from raven import BusClient

SENTENCES = [
    "a message is a row",
    "a send that returned is committed",
    "the file is the bus",
    "no broker",
    "nothing waits for a poll",
]


def main() -> None:
    with BusClient.at(PRODUCER, db_path_argument(__doc__)) as bus:
        for sentence in SENTENCES:
            msg = bus.send(to=CONSUMER, type="count-words", body={"text": sentence, "pid": os.getpid()})
            print(f"#{msg.id} sent: {sentence}")
        msg = bus.send(to=CONSUMER, type="no-more", body={"jobs": len(SENTENCES), "pid": os.getpid()})
        print(f"#{msg.id} sent: no more; producer {os.getpid()} is done")


if __name__ == "__main__":
    main()
