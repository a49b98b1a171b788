"""Crew: the load of the processes trial, and the count of what it sent and received."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator

from raven import BusClient
from scripts.harness.program import Program
from scripts.trials.history.journal import Event, read
from scripts.trials.processes.crew import RECEIVERS, TABLE, address
from scripts.trials.trial import Round

_PATIENCE_S = 40.0
_PRODUCERS = 2
# What a loop cannot give back as it ends, since another is writing, comes after a lease of 5 s, and out of order.
_PROMPT_S = 4.0


class Crew:
    """Processes that send and receive until they are told to stop; nobody kills them."""

    def __init__(self, round: Round, db: str) -> None:
        self._round = round
        self._db = db
        self._folder = round.folder / "journal"
        self._folder.mkdir()
        self._bus = BusClient.at("boss:crew", db, busy_timeout_s=30)
        self._bus.execute(TABLE)
        names = [f"producer-{number}" for number in range(_PRODUCERS)] + [f"{part}-0" for part in RECEIVERS]
        self._programs = {name: self._program(name) for name in names}

    def __enter__(self) -> Crew:
        for program in self._programs.values():
            program.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        for program in self._programs.values():
            program.end()
        self._bus.close()

    def members(self) -> list[Program]:
        """Return the processes, in an order that is always the same."""
        return list(self._programs.values())

    def settle(self) -> None:
        """Let the producers stop, then the others once nothing is left, and count."""
        self._stop("producer")
        give_up_at = time.monotonic() + _PATIENCE_S
        while left := self._left():
            if time.monotonic() > give_up_at:
                self._round.found("lost", f"never taken: {left}")
                break
            time.sleep(0.02)
        for part in RECEIVERS:
            self._stop(part)
        rows = [row[0] for row in self._bus.execute("SELECT key FROM exact_keys")]
        events = list(read(self._folder))
        self._round.did("messages", sum(event.what == "sent" for event in events))
        for kind, what in verdicts(events, rows):
            self._round.found(kind, what)

    def _left(self) -> dict[str, int]:
        ours = {address(part) for part in RECEIVERS}
        return {peer.address: peer.pending for peer in self._bus.peers() if peer.address in ours and peer.pending}

    def _stop(self, part: str) -> None:
        for name, program in self._programs.items():
            if not name.startswith(part):
                continue
            if program.has_ended:
                self._round.found("broken", f"{name} has ended by itself")
                continue
            program.tell("over")
            code = program.wait()
            self._round.expect(code == 0, f"{name} should end well, and not with {code}")

    def _program(self, name: str) -> Program:
        part = name.partition("-")[0]
        return Program("trials.processes.crew", part, self._db, str(self._folder), name, greets=True)


def verdicts(events: list[Event], rows: list[str]) -> Iterator[tuple[str, str]]:
    """Yield what was lost, doubled or reordered, by what all wrote down and the keys in the table of `exact`."""
    sent: dict[str, Counter[str]] = defaultdict(Counter)
    finished: dict[str, Counter[str]] = defaultdict(Counter)
    finished["exact"].update(rows)
    ids: dict[str, list[int]] = defaultdict(list)
    sent_at = {event.told["key"]: event.at for event in events if event.what == "sent"}
    for event in events:
        part = event.life.partition("-")[0]
        if event.what == "sent":
            sent[event.told["part"]][event.told["key"]] += 1
        elif event.what == "got" and part in ("auto", "loop"):
            finished[part][event.told["key"]] += 1
            if event.at - sent_at.get(event.told["key"], 0.0) < _PROMPT_S:
                ids[event.life].append(event.told["id"])
        elif event.what == "acked":
            finished[part][event.told["key"]] += 1
    for part in RECEIVERS:
        if lost := sent[part] - finished[part]:
            yield "lost", f"{part}: {len(lost)} of {len(sent[part])}: {sorted(lost)[:5]}"
        more = finished[part] - sent[part]
        if doubled := [key for key in more if key in sent[part]]:
            yield "doubled", f"{part}: {sorted(doubled)[:5]}"
        if unsent := [key for key in more if key not in sent[part]]:
            yield "broken", f"{part}: refused when they were sent, and there: {sorted(unsent)[:5]}"
    for life, order in ids.items():
        if order != sorted(order):
            yield "reordered", f"{life} got a message after a later one"
