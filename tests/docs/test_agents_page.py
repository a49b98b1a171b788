"""The page of coding agents shows the table of the last whole trial with the real programs."""

from __future__ import annotations

from scripts.trials.agents.catalogue import CASES
from scripts.trials.agents.outcome import Results
from tests.docs.examples import ROOT


def test_the_page_shows_each_outcome_of_the_stored_trial() -> None:
    text = (ROOT / "docs" / "agents.json").read_text(encoding="utf-8")
    page = (ROOT / "docs" / "coding-agents.md").read_text(encoding="utf-8")
    results = Results.load(text)

    assert list(results.outcomes) == list(CASES)
    assert results.dump() == text
    assert results.markdown() in page
    assert results.date in page
