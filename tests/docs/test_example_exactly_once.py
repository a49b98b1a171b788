"""The pipeline whose stages are killed: exact with the transaction, and not without it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docs.examples import EXACTLY_ONCE, WITHOUT_TRANSACTION, Ended, blocks, run, run_to_its_end, shapes
from tests.support import Foreign, Program

pytestmark = pytest.mark.slow

KILLS, ORDERS = 100, 300
STAGES = ["intake", "pricing", "ledger"]


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    return run_to_its_end(f"{EXACTLY_ONCE} --seed 7", tmp_path_factory.mktemp("exactly-once"))


def kills_of(output: str) -> dict[str, list[int]]:
    """Return the counts of the table of kills: all, waited, held an order, had written, redelivered."""
    rows = re.findall(r"^(intake|pricing|ledger) ([ \d]+)$", output, re.MULTILINE)
    return {stage: [int(number) for number in numbers.split()] for stage, numbers in rows}


def test_every_order_is_counted_once_though_stages_were_killed_100_times(ended: Ended) -> None:
    kills = kills_of(ended.output)

    assert list(kills) == STAGES
    assert sum(row[0] for row in kills.values()) == KILLS
    assert "\nexact, order by order" in ended.output
    assert "WRONG" not in ended.output
    orders = range(1, ORDERS + 1)
    for address in [f"{stage}:shop" for stage in STAGES] + ["till:shop"]:
        assert Counter(msg.body["id"] for msg in ended.messages if msg.recipient == address) == Counter(orders)


def test_the_sums_in_the_tables_of_the_stages_are_those_of_the_orders(
    ended: Ended, spawn: Callable[..., Program]
) -> None:
    orders = {msg.body["id"]: msg.body for msg in ended.messages if msg.recipient == "till:shop"}
    sold: Counter[str] = Counter()
    for order in orders.values():
        sold.update(order["lines"])

    foreign = Foreign(spawn("external_writer", ended.db_path))
    prices = foreign.execute("SELECT order_id, cents FROM prices ORDER BY order_id")
    accounts = foreign.execute("SELECT sum(orders), sum(cents) FROM accounts")
    found_sold = dict(foreign.execute("SELECT item, qty FROM sold"))

    assert prices == [[number, orders[number]["cents"]] for number in range(1, ORDERS + 1)]
    assert accounts == [[ORDERS, sum(order["cents"] for order in orders.values())]]
    assert found_sold == sold


def test_kills_hit_stages_that_held_an_order_and_open_transactions(ended: Ended) -> None:
    kills = kills_of(ended.output).values()

    held, written, redelivered = (sum(row[column] for row in kills) for column in (2, 3, 4))

    assert held > 0
    assert written > 0
    assert redelivered == sum(msg.attempts - 1 for msg in ended.messages) > 0


def test_the_pipeline_prints_what_its_readme_shows(ended: Ended) -> None:
    *printed, last = ended.output.splitlines()

    sample = blocks("08-exactly-once", "text")[-1]
    assert shapes(sample) == shapes("\n".join(printed))
    assert printed[0].startswith(f"seed 7: {ORDERS} orders")
    assert last == f"bus: {ended.db_path}"


def test_without_the_transaction_the_same_kills_double_orders(tmp_path: Path) -> None:
    done = run(WITHOUT_TRANSACTION, tmp_path)

    assert (done.returncode, done.stderr) == (1, "")
    assert "\nNOT exact" in done.stdout
    counts = re.findall(r"^orders (?:priced|booked|out) +(\d+) +(\d+)", done.stdout, re.MULTILINE)
    assert len(counts) == 3
    assert all(int(count) >= int(expected) for expected, count in counts)
