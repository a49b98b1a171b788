"""Clock notes: what the processes wrote down while the clock stepped, and which promises that shows to be broken."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from scripts.stress.clock.traffic_process import ASK_S, TIMEOUT_S
from scripts.stress.outcome import Kind

Note = list[Any]
Problem = tuple[Kind, str]
# By so much a wait may be over too late on a machine that is busy with other things; a step of the clock is far more.
SLACK_S = 15.0
# And by so much too early: the resolution of a wait.
_GRAIN_S = 0.05
_PUSHED = "socket:clock"
_AT_LEAST_ONCE = ("manual:clock", "claim:clock", _PUSHED)


def read(paths: Iterable[Path]) -> list[Note]:
    """Return the notes of all processes, in the order of the monotonic clock; a line that is not whole is left out."""
    notes = []
    for path in paths:
        lines = path.read_text(encoding="utf-8").split("\n")[:-1]
        notes += [json.loads(line) for line in lines]
    return sorted(notes, key=lambda note: float(note[1]))


def open_ids(notes: list[Note]) -> set[int]:
    """Return what was sent to stay and has not come, or not been acked where that is to be done."""
    sent = {note[2]: note[4] for note in notes if note[0] == "sent" and note[4] != "brief:clock"}
    received = {note[2] for note in notes if note[0] == "received"}
    acked = {note[2] for note in notes if note[0] == "acked"}
    return {id for id, to in sent.items() if id not in (acked if to in _AT_LEAST_ONCE else received)}


def problems(notes: list[Note], states: dict[int, str], steps: list[float]) -> Iterator[Problem]:
    """Yield every broken promise; `states` are those of all messages in the end, `steps` when the clock stepped."""
    yield from _posts(notes, states)
    yield from _receipts(notes, states)
    yield from _order(notes)
    yield from _waits(notes, steps)


def _posts(notes: list[Note], states: dict[int, str]) -> Iterator[Problem]:
    ids: dict[int, set[int]] = defaultdict(set)
    for _, _, id, number, *_ in (note for note in notes if note[0] == "sent"):
        ids[number].add(id)
        if id not in states:
            yield "lost", f"#{id} was sent, and is not in the bus"
    for number, found in ids.items():
        if len(found) > 1:
            yield "duplicated", f"job {number} was sent twice under one dedup_key, and is there as {sorted(found)}"


def _receipts(notes: list[Note], states: dict[int, str]) -> Iterator[Problem]:
    receipts: dict[int, list[Note]] = defaultdict(list)
    acks: dict[int, list[float]] = defaultdict(list)
    for note in notes:
        if note[0] == "received":
            receipts[note[2]].append(note)
        elif note[0] == "acked":
            acks[note[2]].append(note[1])
    for id, job, to in {(note[2], note[3], note[4]) for note in notes if note[0] == "sent"}:
        had = receipts.get(id, [])
        if any((note[3], note[4]) != (job, to) for note in had):
            yield "broken", f"#{id} came as another than it was sent"
        where, state = f"#{id} at {to}", states.get(id)
        yield from (
            _at_least_once(where, state, had, acks[id])
            if to in _AT_LEAST_ONCE
            else _at_most_once(where, state, had, may_expire=to == "brief:clock")
        )


def _at_least_once(where: str, state: str | None, had: list[Note], acks: list[float]) -> Iterator[Problem]:
    attempts = [note[5] for note in had]
    if len(set(attempts)) < len(attempts):
        yield "duplicated", f"{where} came at one attempt twice: {attempts}"
    # Over the socket what was pushed again, its lease being over, before the ack came, may be read after that.
    if not where.endswith(_PUSHED):
        if len(acks) > 1:
            yield "duplicated", f"{where} was acked under {len(acks)} leases"
        if acks and any(note[6] > acks[0] for note in had):
            yield "duplicated", f"{where} came after it was acked"
    if not acks:
        yield "lost", f"{where} is {state}, and was never acked"


def _at_most_once(where: str, state: str | None, had: list[Note], *, may_expire: bool) -> Iterator[Problem]:
    if len(had) > 1:
        yield "duplicated", f"{where} came {len(had)} times"
    if not had and not (may_expire and state == "expired"):
        yield "lost", f"{where} is {state}, and never came"


def _order(notes: list[Note]) -> Iterator[Problem]:
    delayed = {note[2] for note in notes if note[0] == "sent" and note[5]}
    last = 0
    for note in notes:
        if note[0] == "received" and note[4] == "auto:clock" and note[2] not in delayed:
            if note[2] < last:
                yield "reordered", f"#{note[2]} came to its one consumer after #{last}"
            last = note[2]


def _waits(notes: list[Note], steps: list[float]) -> Iterator[Problem]:
    for what, at, *told in notes:
        if what == "waited" and not TIMEOUT_S - _GRAIN_S <= told[1] <= TIMEOUT_S + SLACK_S:
            yield "broken", f"{told[0]} with a timeout of {TIMEOUT_S:g} s took {told[1]:.2f} s"
        if what in ("answered", "unanswered") and told[0] > ASK_S + SLACK_S:
            yield "broken", f"a request of {ASK_S:g} s was {what} after {told[0]:.2f} s"
        if what == "unanswered":
            if told[0] < ASK_S - _GRAIN_S:
                yield "broken", f"a request of {ASK_S:g} s was given up after {told[0]:.2f} s"
            if not any(at - told[0] - _GRAIN_S <= step <= at for step in steps):
                began = at - told[0]
                since = began - max((step for step in steps if step < began), default=0.0)
                yield "lost", f"a request of {ASK_S:g} s, {since:.2f} s after the last step, got no answer"
