"""Traffic: processes that send and receive in the background of the trial, and the check of their history."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator

from raven import BusClient
from scripts.harness.program import Program
from scripts.stress.history import checker, deliveries, order
from scripts.stress.history.call_recorder import EFFECTS
from scripts.stress.history.collect import collect_history
from scripts.stress.history.history import History
from scripts.stress.history.verdict import Verdict
from scripts.stress.processes.traffic_process import RECEIVERS, address
from scripts.stress.trial import Round

_TIMEOUT_S = 40.0
_PRODUCERS = 2
_PROMPT_S = 4.0
_RULES = (*checker.RULES, *deliveries.RULES, order.ids_grow_in_time)


class Traffic:
    """Processes that send and receive until they are told to stop; the trial never kills them."""

    def __init__(self, round: Round, db: str) -> None:
        self._round = round
        self._db = db
        self._folder = round.folder / "journal"
        self._folder.mkdir()
        self._bus = BusClient.at("sender:traffic", db, busy_timeout_s=30)
        self._bus.execute(EFFECTS)
        names = [f"producer-{number}" for number in range(_PRODUCERS)] + [f"{part}-0" for part in RECEIVERS]
        self._programs = {name: self._program(name) for name in names}

    def __enter__(self) -> Traffic:
        for program in self._programs.values():
            program.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        for program in self._programs.values():
            program.end()
        self._bus.close()

    def programs(self) -> list[Program]:
        """Return the processes in a fixed order."""
        return list(self._programs.values())

    def stop_and_check(self) -> None:
        """Stop the producers, then the receivers after they have received all, and check the history."""
        self._stop("producer")
        deadline = time.monotonic() + _TIMEOUT_S
        while left := self._left():
            if time.monotonic() > deadline:
                self._round.report("lost", f"never received: {left}")
                break
            time.sleep(0.02)
        for part in RECEIVERS:
            self._stop(part)
        history = collect_history(self._db, self._folder, "traffic")
        self._round.count("messages", sum(sending.outcome == "done" for sending in history.sendings))
        for verdict in verdicts(history):
            self._round.report(verdict.kind, verdict.text)

    def _left(self) -> dict[str, int]:
        ours = {address(part) for part in RECEIVERS}
        return {peer.address: peer.pending for peer in self._bus.peers() if peer.address in ours and peer.pending}

    def _stop(self, part: str) -> None:
        for name, program in self._programs.items():
            if not name.startswith(part):
                continue
            if program.has_ended:
                self._round.report("broken", f"{name} has ended by itself")
                continue
            program.tell("over")
            code = program.wait()
            self._round.expect(code == 0, f"{name} should end with 0, and ended with {code}")

    def _program(self, name: str) -> Program:
        part = name.partition("-")[0]
        return Program("stress.processes.traffic_process", part, self._db, str(self._folder), name, greets=True)


def verdicts(history: History) -> Iterator[Verdict]:
    """Yield every broken promise.

    If another process writes while a loop ends, the loop cannot release its messages: they come out of order after
    their lease of 5 s. So only messages that came soon after their send count for the order.
    """
    yield from checker.check(history, rules=_RULES)
    sent_at = {post.token: sending.begin for sending in history.sendings for post in sending.messages}
    prompt: dict[str, list[int]] = defaultdict(list)
    for reception in sorted(history.receptions, key=lambda reception: reception.at):
        if (
            history.processes[reception.process].mode == "auto"
            and reception.at - sent_at.get(reception.token, 0.0) < _PROMPT_S
        ):
            prompt[reception.process].append(reception.id)
    for process, ids in prompt.items():
        if ids != sorted(ids):
            yield Verdict("reordered", f"{process} received a message after a later one")
