"""Lifecycle: the one table of what can become of a delivery.

A delivery in state `sent` or `delivered` is open, and held in one of five ways; in state `acked`, `expired` or `dead`
it is finished, and held in none. Time alone changes nothing but the name of a hold: a delay that is over is `due`, a
lease that is over has `lapsed`. Each event is one statement of `queries.sql`, and changes nothing where the
table does not name it; nor do `show`, `set_apart`, `claim` and `take` change what is past its time. In the end what is
acked or expired is dropped with its message. A test runs every event in every stage against a real file.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from raven.model.message import State

Hold = Literal["ready", "delayed", "due", "leased", "lapsed"]
Event = Literal[
    "show",
    "set_apart",
    "claim",
    "take",
    "ack",
    "nack",
    "nack_delayed",
    "extend",
    "give_back",
    "settle",
    "expire",
    "withdraw",
    "requeue",
    "purge",
]

OPEN: tuple[State, ...] = ("sent", "delivered")
FINAL: frozenset[State] = frozenset({"acked", "expired", "dead"})


class Stage(NamedTuple):
    """How far a delivery has come: its state, and what holds it while it is open."""

    state: State
    hold: Hold | None


class Transition(NamedTuple):
    """From each of these states, held in one of these ways, an event leads to `next`; None keeps what was.

    `at_last` is the state to which it leads instead when the attempts have run out.
    """

    event: Event
    states: tuple[State, ...]
    holds: tuple[Hold | None, ...]
    next: tuple[State | None, Hold | None]
    meaning: str
    at_last: State | None = None


_HELD_BACK: tuple[Hold, ...] = ("ready", "delayed", "due")
_ANY: tuple[Hold, ...] = (*_HELD_BACK, "leased", "lapsed")

LIFECYCLE: tuple[Transition, ...] = (
    Transition("show", OPEN, ("ready", "due", "leased", "lapsed"), ("delivered", None), "`inbox` shows it"),
    Transition("set_apart", OPEN, ("ready",), (None, "leased"), "a subscriber fetches it ahead"),
    Transition("claim", OPEN, ("ready",), ("delivered", "leased"), "it is handed out until it is acked: an attempt"),
    Transition(
        "take", OPEN, ("ready", "leased", "lapsed"), ("acked", None), "it is handed out for good: an attempt; what is "
        "leased, only by who leased it",
    ),
    Transition(
        "ack", OPEN, _ANY, ("acked", None), "its recipient has finished it; with a lease, unless another holds it",
    ),
    Transition("nack", OPEN, _ANY, (None, "ready"), "it is given back at once; with a lease, as `ack`", "dead"),
    Transition("nack_delayed", OPEN, _ANY, (None, "delayed"), "it is given back after a delay, as `nack`", "dead"),
    Transition("extend", OPEN, ("leased", "lapsed"), (None, "leased"), "its lease ends later"),
    Transition("give_back", OPEN, ("leased", "lapsed"), (None, "ready"), "its subscriber has left", "dead"),
    Transition("settle", OPEN, ("lapsed",), (None, "ready"), "it is noticed that its lease is over", "dead"),
    Transition("settle", OPEN, ("due",), (None, "ready"), "it is noticed that its delay is over"),
    Transition("expire", OPEN, _HELD_BACK, ("expired", None), "its time ran out, in nobody's hands"),
    Transition("withdraw", OPEN, _HELD_BACK, ("expired", None), "the sender of a request waits no longer"),
    Transition("requeue", ("dead",), (None,), ("sent", "ready"), "it is revived, with all its attempts before it"),
    Transition("purge", ("dead",), (None,), ("expired", None), "it is dropped; that of the newest message stays"),
)  # fmt: skip


def next_stage(stage: Stage, event: Event, *, is_last_attempt: bool = False) -> Stage:
    """Return what becomes of a delivery by an event: what it was, where the table has no row for the two."""
    for row in LIFECYCLE:
        if row.event == event and stage.state in row.states and stage.hold in row.holds:
            state = (row.at_last if is_last_attempt else None) or row.next[0] or stage.state
            return Stage(state, None if state in FINAL else row.next[1] or stage.hold)
    return stage


def markdown() -> str:
    """Return the table as docs/guarantees.md shows it."""
    lines = ["| Event | State | Held | Next state | Then held | Which means |", "|---|---|---|---|---|---|"]
    for row in LIFECYCLE:
        state, hold = row.next
        becomes = (state or "the same") + (f"; `{row.at_last}` after the last attempt" if row.at_last else "")
        held = hold or ("" if state in FINAL else "the same")
        holds = "any" if row.holds == _ANY else ", ".join(filter(None, row.holds))
        cells = (f"`{row.event}`", ", ".join(row.states), holds, becomes, held, row.meaning)
        lines.append("|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|")
    return "\n".join(lines)
