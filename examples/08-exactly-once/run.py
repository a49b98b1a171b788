"""Kill the stages of a pipeline at random, 100 times, and check that every order is still counted exactly once."""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections import Counter

from stages import HOLDS, MAX_ATTEMPTS, PRICE_CENTS, SESSION, STAGES, TABLES, WAITS, WRITES, Order, address, price_cents
from worker import Worker

from raven import BusClient

PROCESSES = 3
ORDERS_PER_KILL = 3
PAUSE_S = (0.05, 0.2)
# Most kills come at a random moment. One in this many waits for an uncommitted write: the worst moment.
AIMED = 5
START_WITHIN_S = 30.0
AIM_WITHIN_S = 1.0
FINISH_WITHIN_S = 90.0
CUSTOMERS = ["ada", "bela", "cleo", "dora", "emil", "fritz"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("db", nargs="?", help="the bus file, which must not exist yet (default: in a new temp folder)")
    parser.add_argument("--seed", type=int, default=random.randrange(10_000), help="of orders and kills (default: any)")
    parser.add_argument("--kills", type=int, default=100, help="how many, each with three orders (default: 100)")
    parser.add_argument("--naive", action="store_true", help="do the same without the transaction, and see it fail")
    args = parser.parse_args()
    if args.db and os.path.exists(args.db):
        parser.error(f"{args.db} exists already: each run makes a bus of its own")
    db_path = args.db or os.path.join(tempfile.mkdtemp(prefix="raven-exactly-once-"), "bus.db")

    rng = random.Random(args.seed)
    orders = [make_order(number, rng) for number in range(1, args.kills * ORDERS_PER_KILL + 1)]
    print(f"seed {args.seed}: {len(orders)} orders through {len(STAGES)} stages of {PROCESSES} processes each")
    with BusClient.at(address("till"), db_path, max_attempts=MAX_ATTEMPTS) as till:
        till.execute(TABLES)
        options = ["--naive"] if args.naive else []
        crew = [Worker(stage, db_path, *options) for stage in STAGES for _ in range(PROCESSES)]
        try:
            hits, booked = drive(till, crew, orders, args.kills, rng)
        finally:
            for worker in crew:
                worker.kill()
        print_kills(till, hits)
        is_exact = print_result(till, orders, booked)
    print(f"bus: {db_path}")
    return 0 if is_exact else 1


def make_order(number: int, rng: random.Random) -> Order:
    items = rng.sample(sorted(PRICE_CENTS), rng.randint(1, len(PRICE_CENTS)))
    return {"id": number, "customer": rng.choice(CUSTOMERS), "lines": {item: rng.randint(1, 9) for item in items}}


def drive(
    till: BusClient, crew: list[Worker], orders: list[Order], kills: int, rng: random.Random
) -> tuple[Counter[tuple[str, str]], Counter[int]]:
    """Send the orders, with a kill after each few, and wait for the last of them at the end of the pipeline.

    Returns the number of kills by stage and by its state, and how often each order has left the pipeline.
    """
    began = time.monotonic()
    hits: Counter[tuple[str, str]] = Counter()
    booked: Counter[int] = Counter()
    for kill in range(1, kills + 1):
        for order in orders[(kill - 1) * ORDERS_PER_KILL : kill * ORDERS_PER_KILL]:
            till.send(address("intake"), "order", order)
        collect(till, booked, rng.uniform(*PAUSE_S))
        victim = rng.choice(crew)
        victim.wait_for(WAITS, HOLDS, WRITES, within_s=START_WITHIN_S)
        if kill % AIMED == 0:
            victim.wait_for(WRITES, within_s=AIM_WITHIN_S)
        hits[victim.stage, victim.kill()] += 1
        victim.start()
        if kill % 10 == 0:
            print_progress(began, kill, booked, orders)
    give_up_at = time.monotonic() + FINISH_WITHIN_S
    # An order is always in exactly one mailbox: if all mailboxes are empty, all orders are done.
    while any(peer.pending for peer in till.peers(SESSION)) and time.monotonic() < give_up_at:
        collect(till, booked, 0.1)
    print_progress(began, kills, booked, orders)
    return hits, booked


def collect(till: BusClient, booked: Counter[int], seconds: float) -> None:
    """Receive for a while the orders at the end of the pipeline."""
    for msg in till.listen(timeout_s=seconds):
        booked[msg.body["id"]] += 1


def print_progress(began: float, kills: int, booked: Counter[int], orders: list[Order]) -> None:
    print(f"{time.monotonic() - began:5.1f} s  {kills:4} kills  {len(booked):4} of {len(orders)} orders", flush=True)


def print_kills(till: BusClient, hits: Counter[tuple[str, str]]) -> None:
    """Print the kills by stage and state, and the number of redeliveries."""
    redelivered: Counter[str] = Counter()
    for msg in till.tail(follow=False):
        redelivered[msg.recipient] += msg.attempts - 1
    print(
        f"\n{'stage':8}  {'kills':>5}  {'waited':>6}  {'held an order':>13}  {'had written':>11}  {'redelivered':>11}"
    )
    for stage in STAGES:
        waited, held, written = (hits[stage, step] for step in (WAITS, HOLDS, WRITES))
        again = redelivered[address(stage)]
        print(f"{stage:8}  {waited + held + written:5}  {waited:6}  {held:13}  {written:11}  {again:11}")


def print_result(till: BusClient, orders: list[Order], booked: Counter[int]) -> bool:
    """Compare the tables of the stages with the sums of the orders; returns whether all are exact."""
    sold: Counter[str] = Counter()
    accounts = dict.fromkeys({order["customer"] for order in orders}, (0, 0))
    for order in orders:
        sold.update(order["lines"])
        count, cents = accounts[order["customer"]]
        accounts[order["customer"]] = count + 1, cents + price_cents(order)
    found_sold = dict(till.execute("SELECT item, qty FROM sold"))
    prices = till.execute("SELECT order_id, cents FROM prices ORDER BY order_id")
    found_accounts = {customer: tuple(rest) for customer, *rest in till.execute("SELECT * FROM accounts")}
    expected_prices = [(order["id"], price_cents(order)) for order in orders]
    states = Counter(msg.state for msg in till.tail(follow=False))

    print(f"\n{'':22}  {'expected':>12}  {'found':>12}")
    compare("orders out", len(orders), booked.total())
    compare("items sold", sold.total(), sum(found_sold.values()))
    compare("orders priced", len(orders), len(prices))
    compare("orders booked", len(orders), sum(count for count, _ in found_accounts.values()))
    compare("cents booked", sum(dict(expected_prices).values()), sum(cents for _, cents in found_accounts.values()))
    compare("dead, or still waiting", 0, states.total() - states["acked"])
    is_exact = (
        booked == Counter(order["id"] for order in orders)
        and (found_sold, prices, found_accounts) == (sold, expected_prices, accounts)
        and states.keys() <= {"acked"}
    )
    print(f"\n{'exact' if is_exact else 'NOT exact'}, order by order, item by item and account by account")
    return is_exact


def compare(what: str, expected: int, actual: int) -> None:
    print(f"{what:22}  {expected:12,}  {actual:12,}{'' if expected == actual else '  <-- WRONG'}")


if __name__ == "__main__":
    sys.exit(main())
