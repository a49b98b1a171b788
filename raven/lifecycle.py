"""Lifecycle: the one table of what can become of a delivery.

A delivery in state `sent` or `delivered` is open: ready, held back by a delay, or leased. Each event below is one
statement of `raven/sql/queries.sql`; what the table does not name changes nothing. `acked`, `expired` and `dead` are
final, but for the requeue of the dead. A test runs every event in every state against a real file.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from raven.message import STATES, State

Event = Literal[
    "show", "set_apart", "claim", "take", "ack", "nack", "extend", "give_back", "lapse", "due", "expire", "requeue"
]

SENT, DELIVERED, ACKED, EXPIRED, DEAD = range(len(STATES))
FINAL: frozenset[State] = frozenset({"acked", "expired", "dead"})


class Transition(NamedTuple):
    """From each of these states an event leads to `next`, or to `at_last` at the last attempt; None keeps the state."""

    states: tuple[State, ...]
    event: Event
    next: State | None
    meaning: str
    at_last: State | None = None


LIFECYCLE: tuple[Transition, ...] = (
    Transition(("sent", "delivered"), "show", "delivered", "`inbox` shows it"),
    Transition(("sent", "delivered"), "set_apart", None, "a subscriber fetches it ahead, under a lease"),
    Transition(("sent", "delivered"), "claim", "delivered", "it is handed out under a lease: an attempt"),
    Transition(("sent", "delivered"), "take", "acked", "an automatic subscriber hands it out: an attempt"),
    Transition(("sent", "delivered"), "ack", "acked", "its recipient has finished it"),
    Transition(("sent", "delivered"), "nack", None, "it is given back, ready at once or after a delay", "dead"),
    Transition(("sent", "delivered"), "extend", None, "its lease ends later"),
    Transition(("sent", "delivered"), "give_back", None, "its subscriber has left: ready at once", "dead"),
    Transition(("sent", "delivered"), "lapse", None, "its lease has ended: ready again", "dead"),
    Transition(("sent", "delivered"), "due", None, "its delay is over: ready"),
    Transition(("sent", "delivered"), "expire", "expired", "its time ran out, in nobody's hands"),
    Transition(("dead",), "requeue", "sent", "it is revived, with all its attempts before it"),
)


def next_state(state: State, event: Event, *, is_last_attempt: bool = False) -> State:
    """Return what a state becomes by an event: itself where the table has no row for the two."""
    for row in LIFECYCLE:
        if row.event == event and state in row.states:
            return (row.at_last if is_last_attempt else None) or row.next or state
    return state
