"""The signals trial in its short form, and a test that it notices a lock that stays taken."""

from __future__ import annotations

import threading
from pathlib import Path

from raven import BusClient
from scripts.stress import trial
from scripts.stress.outcome import describe
from scripts.stress.signals import interrupted, scenario


def test_a_short_round_interrupts_every_call_and_finds_nothing(tmp_path: Path) -> None:
    outcome = trial.run(scenario.run, tmp_path, seconds=2, seed=1, rounds=1)

    assert outcome.is_clean, "\n".join(describe("signals", outcome))
    assert outcome.counts["interrupts"] > 16
    for call in ("send", "claim", "execute", "transaction", "request", "listen"):
        assert outcome.counts[f"interrupts in {call}"] > 0, call


def test_a_lock_that_stays_taken_is_noticed(db: str) -> None:
    with BusClient.at("worker:s", db) as bus:
        probe = interrupted.LockProbe(bus, timeout_s=0.01)
        assert probe.is_free()
        lock: threading.RLock = bus._store.lock
        with lock:
            assert not probe.is_free()
        assert probe.is_free()
