"""A worker: takes jobs from two queues, each job under a lease, and hears the broadcasts at its own address.

If it dies, the lease of its job ends, and another worker of the same queue takes the job over.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable

from raven import BusClient, Message
from scripts.swarm import review

# The demo ends its agents long before this.
LIFETIME_S = 90
LEASE_S = 1.0
# An audit reports its progress after one fifth of the files.
_PROGRESS_AT = 5


def main(name: str) -> None:
    """Work until the broadcast `stop`."""
    with BusClient("demo", name) as me, BusClient.at("review:jobs") as reviews, BusClient.at("audit:jobs") as audits:
        for queue, work in ((reviews, _review), (audits, _audit)):
            threading.Thread(target=_serve, args=(me, queue, work)).start()
        for message in me.listen(timeout_s=LIFETIME_S):
            if message.type == "stop":
                break


def _serve(me: BusClient, queue: BusClient, work: Callable[[BusClient, Message], None]) -> None:
    """Do the jobs of a queue until its client is closed; an exception ends the whole process."""
    try:
        for job in queue.listen(ack="manual", lease_s=LEASE_S):
            work(me, job)
            queue.ack(job.id)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        os._exit(1)


def _review(me: BusClient, job: Message) -> None:
    me.send("editor:demo", "findings", review.review(job.body["path"]), reply_to=job.id)


def _audit(me: BusClient, job: Message) -> None:
    paths = job.body["paths"]
    me.send(job.sender, "started", reply_to=job.id)
    longest: dict[str, review.Longest] = {}
    for number, longest in enumerate(review.audit(paths), 1):  # noqa: B007 the last one is the result
        if number == len(paths) // _PROGRESS_AT:
            me.send(job.sender, "progress", {"files": number}, reply_to=job.id)
    me.send(job.sender, "audited", longest, reply_to=job.id)


if __name__ == "__main__":
    main(sys.argv[1])
