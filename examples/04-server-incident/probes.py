"""Probes: real requests of a customer of the shop, with the faults of the answers."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from typing import Any, NamedTuple

NO_ANSWER = 0
ANSWER_WITHIN_S = 10.0
SHIPPED_WITHIN_S = 2.0
LOOK_EVERY_S = 0.01
TOO_MANY_DEAD_LINKS = 5


class Finding(NamedTuple):
    """A finding: the probe that failed, the HTTP status, and the consequence for a customer."""

    probe: str
    status: int
    note: str


def call(shop: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """Make one request to the shop at `host:port`; returns status and answer, NO_ANSWER and the reason if none came."""
    connection = HTTPConnection(shop, timeout=ANSWER_WITHIN_S)
    try:
        connection.request(method, path, None if body is None else json.dumps(body))
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    except (OSError, HTTPException, ValueError) as error:
        return NO_ANSWER, repr(error)
    finally:
        connection.close()


def price(shop: str) -> Finding | None:
    """Ask for a price, which is a positive number."""
    status, answer = call(shop, "GET", "/price?item=lamp&qty=3")
    if status == 200 and answer > 0:
        return None
    return Finding("price", status, f"no price to be had: {status} {answer}")


def orders(shop: str) -> Finding | None:
    """Place an order."""
    placed = place_order(shop)
    return placed if isinstance(placed, Finding) else None


def shipping(shop: str) -> Finding | None:
    """Place an order and follow it until it is shipped."""
    order = place_order(shop)
    if isinstance(order, Finding):
        return order
    deadline = time.monotonic() + SHIPPED_WITHIN_S
    while (answer := call(shop, "GET", f"/orders/{order}")) != (200, "shipped"):
        if time.monotonic() > deadline:
            return Finding("shipping", answer[0], f"order {order} not shipped within {SHIPPED_WITHIN_S:g} s")
        time.sleep(LOOK_EVERY_S)
    return None


def place_order(shop: str) -> int | Finding:
    """Place an order; returns its number, or the finding."""
    status, answer = call(shop, "POST", "/orders", {"item": "lamp", "courier": "van"})
    return int(answer) if status == 201 else Finding("orders", status, f"no order accepted: {status} {answer}")


def dead_links(shop: str) -> Finding | None:
    """Return a finding if customers have requested missing pages too often."""
    status, answer = call(shop, "GET", "/status")
    if status != 200:
        return Finding("dead-links", status, f"no status to be had: {status} {answer}")
    count = answer["not_found"]
    if count < TOO_MANY_DEAD_LINKS:
        return None
    return Finding("dead-links", 404, f"{count} requests for pages that do not exist")


PROBES: dict[str, Callable[[str], Finding | None]] = {
    "price": price,
    "orders": orders,
    "shipping": shipping,
    "dead-links": dead_links,
}
