"""Lifecycle: one table of every transition that a delivery can make.

A delivery in state `sent` or `delivered` is open and has one of six availabilities; in state `acked`, `expired` or
`dead` it is finished and has no availability. Another host has a `held` one, see raven/exchange. Time alone changes
only the availability: `delayed` becomes `due`, and `leased` becomes `lease_expired`. Each event is one statement of
`queries.sql`, or of `exchange.sql`; an event that has no row here changes nothing. `show`, `prefetch`, `claim` and
`consume` skip deliveries past their expiry. Retention and `prune` delete acked and expired deliveries together with
their message. A test runs every event in every state against a real file.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from raven.model.message import State

Availability = Literal["ready", "delayed", "due", "leased", "lease_expired", "held"]
Event = Literal[
    "show",
    "prefetch",
    "claim",
    "consume",
    "ack",
    "nack",
    "nack_delayed",
    "extend",
    "release",
    "apply_due",
    "expire",
    "withdraw",
    "requeue",
    "purge",
    "hold",
    "told",
    "returned",
    "give_back_home",
    "revive",
    "withdraw_there",
]

OPEN: tuple[State, ...] = ("sent", "delivered")
FINAL: frozenset[State] = frozenset({"acked", "expired", "dead"})


class DeliveryState(NamedTuple):
    """The state of a delivery and, while the delivery is open, its availability."""

    state: State
    availability: Availability | None


class Transition(NamedTuple):
    """An event leads from each of these states and availabilities to `next`; None there means unchanged.

    After the last attempt the event leads to the state `if_last_attempt` instead, if that is set.
    """

    event: Event
    states: tuple[State, ...]
    availabilities: tuple[Availability | None, ...]
    next: tuple[State | None, Availability | None]
    meaning: str
    if_last_attempt: State | None = None


_NOT_LEASED: tuple[Availability, ...] = ("ready", "delayed", "due")
_ANY: tuple[Availability, ...] = (*_NOT_LEASED, "leased", "lease_expired", "held")

LIFECYCLE: tuple[Transition, ...] = (
    Transition("show", OPEN, ("ready", "due", "leased", "lease_expired"), ("delivered", None), "`inbox` shows it"),
    Transition("prefetch", OPEN, ("ready",), (None, "leased"), "a subscriber leases it in advance; no attempt counted"),
    Transition("claim", OPEN, ("ready",), ("delivered", "leased"), "a consumer leases it; counts an attempt"),
    Transition(
        "consume", OPEN, ("ready", "leased", "lease_expired"), ("acked", None),
        "one step delivers it, counts an attempt and acks it; if leased, only for the lease's holder",
    ),
    Transition("ack", OPEN, _ANY, ("acked", None), "its recipient finishes it; with a lease, unless another holds it"),
    Transition("nack", OPEN, _ANY, (None, "ready"), "its recipient releases it at once; lease as for `ack`", "dead"),
    Transition("nack_delayed", OPEN, _ANY, (None, "delayed"), "its recipient releases it with a delay", "dead"),
    Transition("extend", OPEN, ("leased", "lease_expired"), (None, "leased"), "its lease ends later"),
    Transition("release", OPEN, ("leased", "lease_expired"), (None, "ready"), "its subscriber has left", "dead"),
    Transition("apply_due", OPEN, ("lease_expired",), (None, "ready"), "a process releases the expired lease", "dead"),
    Transition("apply_due", OPEN, ("due",), (None, "ready"), "a process ends the elapsed delay"),
    Transition("expire", OPEN, _NOT_LEASED, ("expired", None), "its expiry passes while no consumer leases it"),
    Transition("withdraw", OPEN, _NOT_LEASED, ("expired", None), "the sender of the request stops waiting"),
    Transition("requeue", ("dead",), (None,), ("sent", "ready"), "`requeue` revives it with a fresh attempt count"),
    Transition("purge", ("dead",), (None,), ("expired", None), "`purge_dead` deletes it, or keeps it for waiters so"),
    Transition("hold", OPEN, ("ready",), (None, "held"), "it is handed over to another host"),
    Transition(
        "told", OPEN, ("held",), ("acked", None),
        "the other host tells its state, as `acked`; so may `expired`, `dead`, and `delivered`, which stays held",
    ),
    Transition(
        "told", ("dead",), (None,), ("acked", None), "the same after a requeue there; told `sent`, it is held again"
    ),
    Transition("returned", OPEN, ("held",), (None, "ready"), "the other host gives it back"),
    Transition("returned", ("dead",), (None,), ("sent", "ready"), "the same after a requeue there"),
    Transition("give_back_home", OPEN, ("ready",), ("expired", None), "it came from another host, which gets it back"),
    Transition("revive", ("expired",), (None,), ("sent", "ready"), "it was given back, and that host sends it again"),
    Transition(
        "withdraw_there", OPEN, _NOT_LEASED, ("expired", None), "it came from another host, which has taken it back"
    ),
    Transition("withdraw_there", ("expired", "dead"), (None,), ("expired", None), "the same after it ended here"),
)  # fmt: skip


def next_state(current: DeliveryState, event: Event, *, is_last_attempt: bool = False) -> DeliveryState:
    """Return the state after an event; the current one if the table has no row for the two."""
    for row in LIFECYCLE:
        if row.event == event and current.state in row.states and current.availability in row.availabilities:
            state = (row.if_last_attempt if is_last_attempt else None) or row.next[0] or current.state
            return DeliveryState(state, None if state in FINAL else row.next[1] or current.availability)
    return current


def markdown() -> str:
    """Return the table as docs/guarantees.md shows it."""
    lines = [
        "| Event | State | Availability | Next state | Next availability | Meaning |",
        "|---|---|---|---|---|---|",
    ]
    for row in LIFECYCLE:
        state, availability = row.next
        next_cell = (state or "same") + (
            f"; `{row.if_last_attempt}` after the last attempt" if row.if_last_attempt else ""
        )
        then = availability or ("" if state in FINAL else "same")
        before = "any" if row.availabilities == _ANY else ", ".join(filter(None, row.availabilities))
        cells = (f"`{row.event}`", ", ".join(row.states), before, next_cell, then, row.meaning)
        lines.append("|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|")
    return "\n".join(lines)
