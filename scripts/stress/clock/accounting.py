"""Accounting: the notes of all processes while the clock stepped, and the broken promises that they show."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from scripts.stress.clock.traffic_process import REQUEST_TIMEOUT_S, TIMEOUT_S
from scripts.stress.outcome import Kind

Note = list[Any]
Problem = tuple[Kind, str]
# A timeout may be late by this much on a busy machine; most steps of the clock are far larger.
SLACK_S = 15.0
# And it may be early by this much, the resolution of a wait.
_GRAIN_S = 0.05
_SOCKET = "socket:clock"
_MANUAL = ("manual:clock", "claim:clock", _SOCKET)


def read(paths: Iterable[Path]) -> list[Note]:
    """Return the notes of all processes by the monotonic clock, without incomplete last lines."""
    notes = []
    for path in paths:
        lines = path.read_text(encoding="utf-8").split("\n")[:-1]
        notes += [json.loads(line) for line in lines]
    return sorted(notes, key=lambda note: float(note[1]))


def open_ids(notes: list[Note]) -> set[int]:
    """Return the ids of the sent messages that were not received yet, or not acked yet if they must be."""
    sent = {note[2]: note[4] for note in notes if note[0] == "sent" and note[4] != "brief:clock"}
    received = {note[2] for note in notes if note[0] == "received"}
    acked = {note[2] for note in notes if note[0] == "acked"}
    return {id for id, to in sent.items() if id not in (acked if to in _MANUAL else received)}


def problems(notes: list[Note], states: dict[int, str], steps: list[float]) -> Iterator[Problem]:
    """Yield every broken promise; `states` has the final state of each message, `steps` the times of the steps."""
    yield from _check_sends(notes, states)
    yield from _check_deliveries(notes, states)
    yield from _check_order(notes)
    yield from _check_timeouts(notes, steps)


def _check_sends(notes: list[Note], states: dict[int, str]) -> Iterator[Problem]:
    ids: dict[int, set[int]] = defaultdict(set)
    for _, _, id, number, *_ in (note for note in notes if note[0] == "sent"):
        ids[number].add(id)
        if id not in states:
            yield "lost", f"#{id} was sent, and is not in the bus"
    for number, stored_ids in ids.items():
        if len(stored_ids) > 1:
            yield "duplicated", f"job {number} was sent twice under one dedup_key, and is there as {sorted(stored_ids)}"


def _check_deliveries(notes: list[Note], states: dict[int, str]) -> Iterator[Problem]:
    receptions: dict[int, list[Note]] = defaultdict(list)
    acks: dict[int, list[float]] = defaultdict(list)
    for note in notes:
        if note[0] == "received":
            receptions[note[2]].append(note)
        elif note[0] == "acked":
            acks[note[2]].append(note[1])
    for id, job, to in {(note[2], note[3], note[4]) for note in notes if note[0] == "sent"}:
        received = receptions.get(id, [])
        if any((note[3], note[4]) != (job, to) for note in received):
            yield "broken", f"#{id} was received with another body or address"
        name, state = f"#{id} at {to}", states.get(id)
        yield from (
            _at_least_once(name, state, received, acks[id])
            if to in _MANUAL
            else _at_most_once(name, state, received, may_expire=to == "brief:clock")
        )


def _at_least_once(name: str, state: str | None, received: list[Note], acks: list[float]) -> Iterator[Problem]:
    attempts = [note[5] for note in received]
    if len(set(attempts)) < len(attempts):
        yield "duplicated", f"{name} was received at one attempt twice: {attempts}"
    # Over the socket a message may be pushed again after its lease has expired, and read after the ack of the first.
    if not name.endswith(_SOCKET):
        if len(acks) > 1:
            yield "duplicated", f"{name} was acked under {len(acks)} leases"
        if acks and any(note[6] > acks[0] for note in received):
            yield "duplicated", f"{name} was received after it was acked"
    if not acks:
        yield "lost", f"{name} is {state}, and was never acked"


def _at_most_once(name: str, state: str | None, received: list[Note], *, may_expire: bool) -> Iterator[Problem]:
    if len(received) > 1:
        yield "duplicated", f"{name} was received {len(received)} times"
    if not received and not (may_expire and state == "expired"):
        yield "lost", f"{name} is {state}, and was never received"


def _check_order(notes: list[Note]) -> Iterator[Problem]:
    delayed = {note[2] for note in notes if note[0] == "sent" and note[5]}
    last = 0
    for note in notes:
        if note[0] == "received" and note[4] == "auto:clock" and note[2] not in delayed:
            if note[2] < last:
                yield "reordered", f"#{note[2]} was received after #{last}"
            last = note[2]


def _check_timeouts(notes: list[Note], steps: list[float]) -> Iterator[Problem]:
    for type, at, *values in notes:
        if type == "waited" and not TIMEOUT_S - _GRAIN_S <= values[1] <= TIMEOUT_S + SLACK_S:
            yield "broken", f"{values[0]} with a timeout of {TIMEOUT_S:g} s took {values[1]:.2f} s"
        if type in ("answered", "unanswered") and values[0] > REQUEST_TIMEOUT_S + SLACK_S:
            yield "broken", f"a request of {REQUEST_TIMEOUT_S:g} s was {type} after {values[0]:.2f} s"
        if type == "unanswered":
            if values[0] < REQUEST_TIMEOUT_S - _GRAIN_S:
                yield "broken", f"a request of {REQUEST_TIMEOUT_S:g} s was given up after {values[0]:.2f} s"
            if not any(at - values[0] - _GRAIN_S <= step <= at for step in steps):
                began = at - values[0]
                since = began - max((step for step in steps if step < began), default=0.0)
                yield "lost", f"a request of {REQUEST_TIMEOUT_S:g} s, {since:.2f} s after the last step, got no answer"
