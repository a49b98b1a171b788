"""The injection trial in its short form, and tests that it finds the effects of such texts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.stress import trial
from scripts.stress.catalogue import TRIALS
from scripts.stress.injection import scenario as injection
from scripts.stress.injection.commands import CommandRunner
from scripts.stress.injection.texts import FORGED, addresses, is_harmless
from scripts.stress.outcome import Outcome, describe
from scripts.stress.trial import Round


@pytest.mark.slow
def test_a_text_never_becomes_code(tmp_path: Path) -> None:
    outcome = TRIALS["injection"].run(tmp_path, seconds=1, seed=5, rounds=1)

    assert outcome.is_clean, "\n".join(describe("injection", outcome))
    for finding in ("texts", "commands", "JSON lines", "socket lines", "--exec commands", "address patterns",
                 "doorbell rings", "wake-ups", "user SQL statements", "external SQL statements"):  # fmt: skip
        assert outcome.counts[finding] > 0, outcome.counts


@pytest.mark.parametrize("text", ["\x1b[31m", "\x9b2J", "a\rb", "a\bb", "\x00", "\u202e", "\u200b", "\u2028", "\ue000"])
def test_a_control_character_is_not_harmless(text: str) -> None:
    assert not is_harmless(f"before {text} after\n")
    assert is_harmless("plain, 東京, é, 🦉\n")


def test_the_addresses_of_the_trial_are_all_different() -> None:
    assert len(set(addresses())) == len(addresses()) > 100


@pytest.fixture
def findings_of(tmp_path: Path) -> Callable[[Callable[[Round], None]], list[str]]:
    """Return a function that runs a scenario and returns the texts of its findings."""

    def run(scenario: Callable[[Round], None]) -> list[str]:
        outcome: Outcome = trial.run(scenario, tmp_path, seconds=1, seed=1, rounds=1)
        return [finding.text for finding in outcome.findings]

    return run


@pytest.mark.parametrize(
    ("program", "text"),
    [
        ("print('\\x1b[31m')", "printed control characters"),
        (f"print('{FORGED} forged')", "a forged line"),
        ("import sys; sys.stdout.buffer.write(b'\\xff')", "printed invalid UTF-8"),
        ("raise ValueError('\\x1b')", "failed: b'Traceback"),
        ("import sys; sys.exit(9)", "ended with 9"),
    ],
)
def test_a_command_with_harmful_output_is_found(
    findings_of: Callable[[Callable[[Round], None]], list[str]], program: str, text: str
) -> None:
    def scenario(round: Round) -> None:
        # Python finds this module before raven, because it searches the working folder first.
        (round.folder / "raven.py").write_text(program, encoding="utf-8")
        CommandRunner(round).run("inbox")

    assert any(text in finding for finding in findings_of(scenario)), findings_of


def test_a_file_that_a_text_creates_is_found(
    findings_of: Callable[[Callable[[Round], None]], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def scenario(round: Round) -> None:
        (round.folder / "canary").touch()
        injection.run(round)

    for part in ("_run_commands", "_complete", "_name_settings", "_give_arguments", "_read_commands", "_read_json"):
        monkeypatch.setattr(injection, part, lambda *_: [])
    monkeypatch.setattr(injection.rpc_lines, "run", lambda *_: None)

    assert any("a text has created files" in finding for finding in findings_of(scenario))
