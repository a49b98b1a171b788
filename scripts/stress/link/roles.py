"""Roles: the actors on each host, and the addresses at which they receive."""

from __future__ import annotations

from typing import Literal, NamedTuple

HOSTS = ("alpha", "beta", "gamma")
ANSWERS = "answer:link"


class Role(NamedTuple):
    """An actor's program, and its address and mode if it receives."""

    program: str
    address: str = ""
    mode: Literal["transaction", "manual", "answer", ""] = ""


# By the name of the actor, which begins with its host.
ROLES = {
    "alpha-first": Role("producer"),
    "alpha-second": Role("producer"),
    "beta-first": Role("producer"),
    "gamma-first": Role("producer"),
    "alpha-rows": Role("consumer", "alpha:link", "transaction"),
    "beta-rows": Role("consumer", "beta:link", "transaction"),
    "gamma-rows": Role("consumer", "gamma:link", "transaction"),
    "gamma-acks": Role("consumer", "acks:link", "manual"),
    "beta-pool": Role("consumer", "pool:link", "transaction"),
    "gamma-pool": Role("consumer", "pool:link", "transaction"),
    "gamma-answer": Role("consumer", ANSWERS, "answer"),
}
ADDRESSES = tuple(dict.fromkeys(role.address for role in ROLES.values() if role.mode in ("transaction", "manual")))
# Two hosts have consumers of this address, so that no order holds there.
POOL = "pool:link"


def host_of(name: str) -> str:
    """Return the host of an actor, of a process of it, or of a token that it has sent."""
    return name.partition("-")[0]
