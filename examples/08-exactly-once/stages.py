"""The three stages of the pipeline; `stages.py STAGE BUS` runs one process of a stage, and any number may run.

A stage processes an order and then does three things in one commit: it writes to a table of its own in the bus file,
sends the order on, and acks it. So either all three are done or none, at any death of the process.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from typing import Any, NamedTuple

from raven import BusClient, LeaseLostError, Message

SESSION = "shop"
SHIFT_S = 300.0
# How long an order waits after its stage was killed. A live process renews its lease, however long its work takes.
LEASE_S = 1.0
# An order that is hit many times must not run out of attempts.
MAX_ATTEMPTS = 1000
# Stand for a call to another service, and for a slow disk, so that kills also hit the open transaction.
WORK_S = (0.02, 0.12)
WRITE_S = (0.0, 0.02)
# The states that a process prints; the last one is its state at the kill.
WAITS, HOLDS, WRITES = "waits", "holds", "writes"

PRICE_CENTS = {"kettle": 3495, "lamp": 1999, "spoon": 149, "teapot": 2750}
# No key would refuse a second write of an order, and the sums would hide it.
TABLES = """
    CREATE TABLE sold (item TEXT PRIMARY KEY, qty INTEGER NOT NULL);
    CREATE TABLE prices (order_id INTEGER NOT NULL, cents INTEGER NOT NULL);
    CREATE TABLE accounts (customer TEXT PRIMARY KEY, orders INTEGER NOT NULL, cents INTEGER NOT NULL);
"""
Order = dict[str, Any]


def address(role: str) -> str:
    return f"{role}:{SESSION}"


def price_cents(order: Order) -> int:
    return sum(PRICE_CENTS[item] * qty for item, qty in order["lines"].items())


def take_in(tx: BusClient, order: Order) -> Order:
    for line in order["lines"].items():
        tx.execute("INSERT INTO sold VALUES (?, ?) ON CONFLICT DO UPDATE SET qty = qty + excluded.qty", line)
    return order


def price(tx: BusClient, order: Order) -> Order:
    cents = price_cents(order)
    tx.execute("INSERT INTO prices VALUES (?, ?)", (order["id"], cents))
    return {**order, "cents": cents}


def book(tx: BusClient, order: Order) -> Order:
    tx.execute(
        "INSERT INTO accounts VALUES (:customer, 1, :cents) "
        "ON CONFLICT DO UPDATE SET orders = orders + 1, cents = cents + excluded.cents",
        {"customer": order["customer"], "cents": order["cents"]},
    )
    return order


class Stage(NamedTuple):
    """A stage: the function that writes for an order, and the name of the next stage."""

    write: Callable[[BusClient, Order], Order]
    next: str


STAGES = {
    "intake": Stage(take_in, next="pricing"),
    "pricing": Stage(price, next="ledger"),
    "ledger": Stage(book, next="till"),
}


def work(bus: BusClient, stage: Stage, msg: Message, naive: bool) -> None:
    """Process an order, and commit all results at once; in the naive run, each result by itself."""
    say(HOLDS)
    time.sleep(random.uniform(*WORK_S))
    with nullcontext(bus) if naive else bus.transaction() as tx:
        output = stage.write(tx, msg.body)
        say(WRITES)
        time.sleep(random.uniform(*WRITE_S))
        tx.send(address(stage.next), "order", output)
        tx.ack(msg.id)


def say(step: str) -> None:
    os.write(sys.stdout.fileno(), f"{step}\n".encode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("db")
    parser.add_argument("--naive", action="store_true")
    args = parser.parse_args()
    with BusClient.at(address(args.stage), args.db, max_attempts=MAX_ATTEMPTS) as bus:
        say(WAITS)
        for msg in bus.listen(ack="manual", lease_s=LEASE_S, timeout_s=SHIFT_S):
            # Too late: another process has the order now. The writes of this one were undone.
            with suppress(LeaseLostError):
                work(bus, STAGES[args.stage], msg, args.naive)
            say(WAITS)


if __name__ == "__main__":
    main()
