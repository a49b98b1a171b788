"""The agents of the swarm; `agents.py ROLE BUS SEED` runs one of them in a process of its own.

planner -> coder -> reviewer -> tester -> planner. Three processes share the address of the coder. Some tasks kill the
coder that takes them, some builds are red and some tests are flaky: the page shows each of these.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from itertools import count

from raven import BusClient, Message

SESSION = "swarm-1"
LEASE_S = 2.0
MAX_ATTEMPTS = 3
CRASH_EVERY = 7
NOTE_EVERY = 12
TASK_EVERY_S = (0.3, 0.9)
TASKS = [
    ("parse dates with a time zone", "importer/dates.py"),
    ("retry an upload that was cut off", "client/upload.py"),
    ("show the sum of a basket", "shop/basket.py"),
    ("make the search ignore accents", "search/terms.py"),
    ("log a request in one line", "server/log.py"),
    ("cache the price list for a minute", "shop/prices.py"),
    ("reject an empty user name", "server/users.py"),
    ("sort invoices by due date", "shop/invoices.py"),
]
# Loading this file kills the process, as a fault in a native library does.
CRASH = ("load the old parser", "native/parser.so")
COMMENTS = ["a test is missing", "the name says too little", "this branch is never taken"]


def address(role: str) -> str:
    return f"{role}:{SESSION}"


def planner(bus: BusClient, rng: random.Random) -> None:
    """Send tasks, count the merged ones, and tell the count to each sender of a message that is no result."""
    tasks = count(1)
    results: Counter[str] = Counter()
    while True:
        number = next(tasks)
        task, file = CRASH if number % CRASH_EVERY == 0 else rng.choice(TASKS)
        urgency = rng.choices(("prompt", "fyi", "blocking"), (6, 3, 1))[0]
        bus.send(
            address("coder"),
            "task",
            {"task": task, "file": file},
            urgency=urgency,
            correlation_id=f"task-{number}",
            max_attempts=MAX_ATTEMPTS,
            report="undelivered",
        )
        if number % NOTE_EVERY == 0:
            bus.send(f"*:{SESSION}", "note", f"{results['merged']} of {number} tasks are merged", urgency="fyi")
        for msg in bus.listen(timeout_s=rng.uniform(*TASK_EVERY_S)):
            results[msg.type] += 1
            if msg.type not in ("merged", "raven.undelivered"):
                bus.reply(msg, "status", dict(results))


def coder(bus: BusClient, rng: random.Random, msg: Message) -> None:
    """Write a patch, unless the build is red or the task kills this process."""
    if msg.body["file"] == CRASH[1]:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(rng.uniform(0.2, 0.6))
    if rng.random() < 0.1:
        bus.nack(msg.id, delay_s=0.5, reason="the build is red")
    else:
        pass_on(bus, msg, "reviewer", "patch", lines=rng.randint(3, 90))


def reviewer(bus: BusClient, rng: random.Random, msg: Message) -> None:
    """Approve a patch, or ask the coder for changes."""
    time.sleep(rng.uniform(0.05, 0.2))
    if rng.random() < 0.2:
        pass_on(bus, msg, "coder", "changes", comment=rng.choice(COMMENTS))
    else:
        pass_on(bus, msg, "tester", "approved")


def tester(bus: BusClient, rng: random.Random, msg: Message) -> None:
    """Run the tests of a patch, again after a failure."""
    time.sleep(rng.uniform(0.05, 0.2))
    if rng.random() < 0.2:
        bus.nack(msg.id, delay_s=1.0, reason="1 test timed out")
    else:
        pass_on(bus, msg, "planner", "merged", tests=rng.randint(200, 220))


def pass_on(bus: BusClient, msg: Message, role: str, type: str, **more: object) -> None:
    """Finish a message and send the next one of its task, in one commit."""
    with bus.transaction() as tx:
        tx.send(
            address(role),
            type,
            {**msg.body, **more},
            urgency=msg.urgency,
            correlation_id=msg.correlation_id,
            reply_to=msg.id,
        )
        tx.ack(msg.id)


WORKERS: dict[str, Callable[[BusClient, random.Random, Message], None]] = {
    "coder": coder,
    "reviewer": reviewer,
    "tester": tester,
}
# Each process of the swarm by its role.
CREW = ["planner", "coder", "coder", "coder", "reviewer", "tester"]


def work(bus: BusClient, rng: random.Random, step: Callable[[BusClient, random.Random, Message], None]) -> None:
    """Take one message after the other; notes are acked unread."""
    for msg in bus.listen(ack="manual", lease_s=LEASE_S):
        if isinstance(msg.body, dict) and "task" in msg.body:
            step(bus, rng, msg)
        else:
            bus.ack(msg.id)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches run.py too, which kills its agents
    role, db_path, seed = sys.argv[1:]
    rng = random.Random(seed)
    with BusClient.at(address(role), db_path) as bus:
        if role == "planner":
            planner(bus, rng)
        else:
            work(bus, rng, WORKERS[role])


if __name__ == "__main__":
    main()
