"""The external trial in its short form, and its accounting."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scripts.stress import trial
from scripts.stress.external import accounting, sql_actions
from scripts.stress.external import scenario as external
from scripts.stress.history.assemble import history_of
from scripts.stress.history.history import BusDump, History, StoredMessage
from scripts.stress.history.journal import Event
from scripts.stress.outcome import describe


@pytest.mark.slow
def test_external_actions_and_replaced_files_lose_nothing(tmp_path: Path) -> None:
    outcome = trial.run(external.run, tmp_path, seconds=3, seed=4, rounds=1)

    assert outcome.is_clean, "\n".join(describe("external", outcome))
    assert outcome.counts["external SQL actions"] == len(sql_actions.LIVE_ACTIONS)
    assert outcome.counts["actions on an idle bus"] == 2
    assert outcome.counts["replaced files"] == outcome.counts["files removed and restored"] == 3
    assert outcome.counts["kills"] >= 4
    assert outcome.counts["sends"] > 100
    assert outcome.counts["messages received"] > 100


Step = tuple[str, str, dict[str, Any]]


def history_with(*steps: Step, stored_ids: dict[int, int]) -> History:
    """Return a history of processes `r0-<group>.<part>` with a step per second; `stored_ids` maps numbers to ids."""
    begin: list[Step] = [
        ("receivers.auto", "consuming", {"address": "auto:f", "mode": "auto"}),
        ("receivers.manual", "consuming", {"address": "manual:f", "mode": "manual"}),
    ]
    events = [
        Event(at, at, f"r0-{process}", type, fields) for at, (process, type, fields) in enumerate([*begin, *steps], -1)
    ]
    stored = tuple(
        StoredMessage(id, "long_timeout:senders", f"t{number}", "d", "prompt", None)
        for number, id in stored_ids.items()
    )
    return history_of(events, BusDump(stored, (), ()))


def sending(number: int, to: str = "auto:f") -> Step:
    messages = [[f"t{number}", [to], "prompt", "d", 9]]
    return ("senders.long_timeout", "sending", {"call": number, "messages": messages, "key": None})


def sent(number: int, id: int) -> Step:
    return ("senders.long_timeout", "sent", {"call": number, "ids": [id]})


def received(number: int, id: int, part: str = "auto") -> Step:
    known = {"digest": "d", "urgency": "prompt", "attempts": 1, "lease": None}
    return (f"receivers.{part}", "received", {"id": id, "token": f"t{number}", **known})


REFUSED = ("senders.long_timeout", "refused", {"call": 1, "error": "BusyError: x"})
ONE = [sending(1), sent(1, 1)]
TWO = [*ONE, sending(2), sent(2, 2)]


@pytest.mark.parametrize(
    ("kinds", "steps", "stored_ids"),
    [
        ([], [*TWO, received(1, 1), received(2, 2)], {1: 1, 2: 2}),
        ([], [sending(1), REFUSED], {}),
        ([], [sending(1), received(1, 1)], {1: 1}),
        (["lost"], ONE, {}),
        (["lost"], ONE, {1: 1}),
        (["lost"], [sending(1, "manual:f"), sent(1, 1)], {1: 1}),
        (["broken"], [sending(1), REFUSED, received(1, 1)], {1: 1}),
        (["broken"], [*ONE, received(1, 1)], {1: 7}),
        (["broken"], [sending(1, "manual:f"), sent(1, 1), received(1, 1, "manual"), received(1, 1)], {1: 1}),
        ([], [sending(1, "manual:f"), sent(1, 1), received(1, 1, "manual"), received(1, 1, "manual")], {1: 1}),
        (["broken"], [("receivers.auto", "failed", {"error": "ValueError: x"})], {}),
    ],
)
def test_the_accounting_finds_lost_and_changed_messages(
    kinds: list[str], steps: list[Step], stored_ids: dict[int, int]
) -> None:
    assert [verdict.kind for verdict in accounting.verdicts(history_with(*steps, stored_ids=stored_ids), [])] == kinds


@pytest.mark.parametrize(
    ("spans", "kinds", "steps", "stored_ids"),
    [
        ([(3.5, 4.5)], [], [*TWO, received(1, 1), received(2, 2)], {1: 1}),
        ([(3.5, 4.5)], ["lost"], [*TWO, received(1, 1), received(2, 2)], {2: 2}),
        ([], ["lost"], [*TWO, received(1, 1), received(2, 2)], {1: 1}),
        # The ack of another message finished it: the new file had reused the id.
        ([(9.0, 10.0)], [], [sending(1, "manual:f"), sent(1, 1)], {1: 1}),
    ],
)
def test_a_replaced_file_excuses_messages_sent_meanwhile(
    spans: list[tuple[float, float]], kinds: list[str], steps: list[Step], stored_ids: dict[int, int]
) -> None:
    assert [
        verdict.kind for verdict in accounting.verdicts(history_with(*steps, stored_ids=stored_ids), spans)
    ] == kinds


def test_a_message_stored_twice_is_duplicated() -> None:
    history = history_with(*ONE, received(1, 1), stored_ids={1: 1})
    twice = history.dump._replace(messages=history.dump.messages * 2)

    assert [verdict.kind for verdict in accounting.verdicts(replace(history, dump=twice), [])] == ["duplicated"]
