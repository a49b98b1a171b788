"""The exchange trial in its short form, and with a fault in the exchange that it must find."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from raven.exchange import handover, intake, news
from raven.exchange.exchange import Exchange
from raven.exchange.values import Confirmation
from raven.store.sql import SQL
from scripts.stress import trial
from scripts.stress.exchange import scenario
from scripts.stress.outcome import describe

pytestmark = pytest.mark.slow
_HISTORIES = 40
Patch = pytest.MonkeyPatch


def test_random_histories_lose_double_and_reorder_no_message(tmp_path: Path) -> None:
    outcome = trial.run(scenario.run, tmp_path, seconds=120, seed=300, rounds=20)

    assert outcome.is_clean, "\n".join(describe("exchange", outcome))
    assert outcome.rounds == 20
    for what in ("messages", "frames", "kills", "restored files", "requeues", "returns", "lost envelopes and words"):
        assert outcome.counts[what], what


def number_without_message(patch: Patch) -> None:
    """Write the numbers of several messages, but only the first of them."""
    admit_all = intake._admit_all

    def admit_first(tx: Any, terms: Any, host: str, messages: Sequence[Any], counts: Any) -> None:
        admit_all(tx, terms, host, messages[:1], counts)

    patch.setattr(intake, "_admit_all", admit_first)


def confirm_beyond(patch: Patch) -> None:
    """Take each word of a host as one on all frames that it was sent."""
    confirmed = Exchange.confirmed

    def too_far(self: Exchange, host: str, said: Confirmation) -> None:
        state = self.hosts().get(host)
        confirmed(self, host, said if state is None else Confirmation(state.epoch, state.sent, state.sent_tag))

    patch.setattr(Exchange, "confirmed", too_far)


def statement(name: str, old: str, new: str) -> Any:
    """Return a fault that replaces a part of a statement."""

    def plant(patch: Patch) -> None:
        assert old in SQL[name]
        patch.setitem(SQL, name, SQL[name].replace(old, new))

    return plant


def no_tags(patch: Patch) -> None:
    for module in (handover, news):
        patch.setattr(module, "new_tags", lambda count: [1] * count)


FAULTS = {
    "the number of a frame is not written": statement("set_received", "WHERE host", "WHERE 0 AND host"),
    "tags are ignored": no_tags,
    "the origin is not checked": statement("origins_among", "WHERE", "WHERE 0 AND"),
    "a word confirms more than it names": confirm_beyond,
    "a number is written without its message": number_without_message,
    "a held delivery stays ready": statement("hold", "SET ready_at = ", "SET ready_at = 0 * "),
    "a new epoch forgets the held deliveries": statement("held_by", "WHERE", "WHERE 0 AND"),
    "a returned delivery stays held": statement("returned", "ready_at = 0, lease = NULL,", ""),
    "a change here is not told": statement("changed_deliveries", "ON d.id = n.delivery_id", "ON 0"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FAULTS[fault](monkeypatch)

    for number in range(_HISTORIES):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        outcome = trial.run(scenario.run, folder, seconds=120, seed=500 + number, rounds=1)
        if not outcome.is_clean:
            return
    raise AssertionError(f"{_HISTORIES} histories did not find: {fault}")
