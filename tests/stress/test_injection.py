"""Texts aimed at terminals, shells, SQL, JSON lines and file names; and that what they would do is seen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.stress import trial
from scripts.stress.catalogue import TRIALS
from scripts.stress.injection import scenario as injection
from scripts.stress.injection.commands import InjectionShell
from scripts.stress.injection.texts import FORGED, addresses, is_harmless
from scripts.stress.outcome import Outcome, describe
from scripts.stress.trial import Round


@pytest.mark.slow
def test_texts_stay_texts_wherever_they_go(tmp_path: Path) -> None:
    outcome = TRIALS["injection"].run(tmp_path, seconds=1, seed=5, rounds=1)

    assert outcome.is_clean, "\n".join(describe("injection", outcome))
    for what in ("texts", "commands", "JSON lines", "socket lines", "--exec commands", "address patterns",
                 "doorbell rings", "wake-ups", "user SQL statements", "external SQL statements"):  # fmt: skip
        assert outcome.counts[what] > 0, outcome.counts


@pytest.mark.parametrize("text", ["\x1b[31m", "\x9b2J", "a\rb", "a\bb", "\x00", "\u202e", "\u200b", "\u2028", "\ue000"])
def test_what_a_terminal_obeys_is_not_harmless(text: str) -> None:
    assert not is_harmless(f"before {text} after\n")
    assert is_harmless("plain, 東京, é, 🦉\n")


def test_the_addresses_of_the_trial_are_all_different() -> None:
    assert len(set(addresses())) == len(addresses()) > 100


@pytest.fixture
def tried(tmp_path: Path) -> Callable[[Callable[[Round], None]], list[str]]:
    """Return what a scenario of one's own finds."""

    def run(scenario: Callable[[Round], None]) -> list[str]:
        outcome: Outcome = trial.run(scenario, tmp_path, seconds=1, seed=1, rounds=1)
        return [finding.text for finding in outcome.findings]

    return run


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("print('\\x1b[31m')", "what a terminal obeys"),
        (f"print('{FORGED} forged')", "a forged line"),
        ("import sys; sys.stdout.buffer.write(b'\\xff')", "what is no UTF-8"),
        ("raise ValueError('\\x1b')", "failed: b'Traceback"),
        ("import sys; sys.exit(9)", "ended with 9"),
    ],
)
def test_a_command_that_printed_a_text_as_it_is_would_be_found(
    tried: Callable[[Callable[[Round], None]], list[str]], program: str, said: str
) -> None:
    def scenario(round: Round) -> None:
        # In the place of raven, which the command looks for in its own folder first.
        (round.folder / "raven.py").write_text(program, encoding="utf-8")
        InjectionShell(round).run("inbox")

    assert any(said in what for what in tried(scenario)), tried


def test_a_file_that_a_text_has_made_would_be_found(
    tried: Callable[[Callable[[Round], None]], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def scenario(round: Round) -> None:
        (round.folder / "canary").touch()
        injection.run(round)

    for part in ("_run_commands", "_complete", "_name_settings", "_give_arguments", "_looks", "_read_json"):
        monkeypatch.setattr(injection, part, lambda *_: [])
    monkeypatch.setattr(injection.rpc_lines, "run", lambda *_: None)

    assert any("a text has made files" in what for what in tried(scenario))
