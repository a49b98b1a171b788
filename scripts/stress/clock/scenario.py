"""Clock: the calendar clock steps forward and back under everything that depends on it.

Processes send, receive, claim, request and wait while all their clocks step at once: by one second to one day in each
direction, and to 1970 and 2038. A step may make leases, delays and expiry times longer or shorter by its size. It must
not lose messages, duplicate them beyond at-least-once, or reorder them. No timeout changes, no process spins, and no
process sleeps on when a step has made a message ready.
"""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from raven import BusClient, BusObserver
from scripts.harness.deadline import wait_until
from scripts.harness.program import Program
from scripts.stress.clock import accounting
from scripts.stress.clock.clock_offset import ClockOffset
from scripts.stress.trial import Round

_PARTS = ("auto", "brief", "manual", "second", "claim", "reply", "request", "wait", "sleep", "socket", "send")
# The order of the stops: the requester ends before the replier, so that the last request gets its reply.
_STOPPED_LAST = ("request", "reply", "auto", "brief", "manual", "second", "claim", "wait", "socket")
# These parts only wait: a spinning one would use a whole processor.
_IDLE = ("sleep", "wait", "reply")
_MAX_SHARE = 0.4
_SPANS_S = (1.0, 1.0, 10.0, 3600.0, 3600.0, 3600.0, 86400.0)
_DWELL_S = (0.1, 0.8)
_COUNTED = {
    "sent": "sends",
    "acked": "acks",
    "waited": "timeouts",
    "answered": "answered requests",
    "unanswered": "unanswered requests",
    "late": "late acks",
}
_BEYOND_ALL_DELAYS_S = 7 * 86400.0
_DEADLINE_S = 60.0
_ROUND_S = 20.0


def run(round: Round) -> None:
    """Step the clock under the traffic, then let all delays end, and check the notes."""
    offset, db = ClockOffset(round.folder / "offset"), str(round.folder / "bus.db")
    BusClient.at("setup:clock", db, register=False).close()
    with ExitStack() as stack:
        server = stack.enter_context(_start_with_offset(offset, "raven", "serve", "--db", db, "--socket", f"{db}.sock"))
        parts = {name: stack.enter_context(_part(offset, name, db, round.folder)) for name in (*_PARTS, "call")}
        steps = _Steps(round, offset, parts["call"], round.folder / "sleep.notes")
        end = time.monotonic() + min(round.seconds, _ROUND_S)
        began = time.monotonic()
        while time.monotonic() < end:
            steps.step_once()
            time.sleep(round.random.uniform(*_DWELL_S))
        elapsed = time.monotonic() - began
        for name in _IDLE:
            used = parts[name].cpu_s()
            round.expect(
                used < 1 + _MAX_SHARE * elapsed, f"{name} used {used:.1f} s of CPU in {elapsed:.1f} s of waiting"
            )
        parts["send"].tell("stop")
        parts["send"].wait()
        steps.step_to(steps.latest_s + _BEYOND_ALL_DELAYS_S)
        notes = wait_until(lambda: _notes_if_drained(round.folder), "the reception of all messages", _DEADLINE_S, 0.05)
        for name in _STOPPED_LAST:
            parts[name].tell("stop")
            round.expect(parts[name].wait() == 0, f"{name} should end with 0")
        round.expect(not server.has_ended, "the server should not end")
        round.expect(not parts["sleep"].has_ended, "the sleeping subscriber should not end")
        notes = _read(round.folder)
    with BusObserver(db) as bus:
        states = {message.id: message.state for message in bus.tail(follow=False)}
    for kind, text in accounting.problems(notes, states, steps.times):
        round.report(kind, text)
    for type, action in _COUNTED.items():
        round.count(action, sum(note[0] == type for note in notes))


class _Steps:
    """The steps of the clock, each with a delayed message and a lease that it must end, or must not."""

    def __init__(self, round: Round, offset: ClockOffset, caller: Program, notes_path: Path) -> None:
        self._round = round
        self._offset = offset
        self._caller = caller
        self._notes_path = notes_path
        self._now_s = 0.0
        self.latest_s = 0.0
        self.times: list[float] = []

    def step_once(self) -> None:
        """Step once: mostly by a random span in either direction, sometimes to 1970 or 2038; then read everything."""
        rng, year = self._round.random, None
        if rng.random() < 0.15:
            year = rng.choice((1970, 2038))
            target = datetime(year, 1, 19, 3, 14, 7, tzinfo=UTC).timestamp() - time.time()
        else:
            target = self._now_s + rng.choice((-1, 1)) * rng.choice(_SPANS_S)
        span = target - self._now_s
        probe = int(self._call("send", "sleeper:clock", "probe", delay_s=max(0.5, abs(span) / 2))["id"])
        claimed_id = self._claim_one()
        self.step_to(target)
        self._round.count("clock steps")
        if span > 1:
            condition = "a subscriber to receive the message that a step has made ready"
            wait_until(lambda: probe in self._received_probes(), condition, _DEADLINE_S, 0.05)
            self._round.count("wake-ups by a clock step")
            again = self._call("claim", lease_s=60)
            self._round.expect(
                [one["id"] for one in again] == [claimed_id], "a step beyond the end of a lease should end it"
            )
        elif span < -1:
            self._round.expect(probe not in self._received_probes(), "a step back should end no delay")
            self._round.expect(self._call("claim") == [], "a step back should end no lease")
        self._ack(claimed_id)
        for method, arguments in (
            ("peers", ()),
            ("stats", ()),
            ("inbox", ()),
            ("history", ("none",)),
            ("receipts", (1,)),
        ):
            self._call(method, *arguments)
        self._round.count("reads", 5)

    def step_to(self, seconds: float) -> None:
        """Set the offset from the machine's clock."""
        self._offset.set(seconds)
        self.times.append(time.monotonic())
        self._now_s, self.latest_s = seconds, max(self.latest_s, seconds)

    def _claim_one(self) -> int:
        """Send the caller a message, and claim it for 0.6 s, which is shorter than any span."""
        sent = int(self._call("send", "caller:clock", "own")["id"])
        claimed = [one["id"] for one in self._call("claim", lease_s=0.6)]
        self._round.expect(claimed == [sent], f"the claim got {claimed} instead of {[sent]}")
        return sent

    def _ack(self, id: int) -> None:
        self._call("ack", id)

    def _call(self, method: str, *arguments: Any, **options: Any) -> Any:
        self._caller.tell(json.dumps([method, arguments, options]))
        return json.loads(self._caller.line(_DEADLINE_S))

    def _received_probes(self) -> set[int]:
        return {note[2] for note in accounting.read([self._notes_path])}


def _notes_if_drained(folder: Path) -> list[accounting.Note] | None:
    notes = _read(folder)
    return None if accounting.open_ids(notes) else notes


def _read(folder: Path) -> list[accounting.Note]:
    return accounting.read(folder.glob("*.notes"))


def _part(offset: ClockOffset, name: str, db: str, folder: Path) -> Program:
    return _start_with_offset(offset, "scripts.stress.clock.traffic_process", name, db, str(folder / f"{name}.notes"))


def _start_with_offset(offset: ClockOffset, module: str, *arguments: str) -> Program:
    return Program("stress.clock.run_with_offset", offset.path, module, *arguments, greets=True)
