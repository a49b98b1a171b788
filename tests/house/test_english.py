"""Plain English, as CONTRIBUTING's "Words" asks: at most one violation per 1,000 words in each file.

In sum, at most half as many are indefinite persons.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PER_WORDS = 1000

# A clause without its noun, such as a subject that begins with "what" or "those".
HEADLESS = re.compile(
    r"\bwhat(?:ever)? (?:is|was|are|were|has|had|have|comes?|came|can|cannot|will|would|must|may|does|did|it|they|this|"
    r"that|others?|time|one|he|waits?|wants?)\b"
    r"|\bwho (?:comes?|waits?|has|is|was|may|can|asks|sends?)\b"
    r"|\bthose (?:that|who|which|of)\b"
    r"|\bwhere (?:none|there is none|that is|it is not|he|one)\b",
    re.IGNORECASE,
)
PERSONS = re.compile(r"\b(?:(?:no|some|any|every)body|who(?:m|s)?ever|none of (?:it|them))\b", re.IGNORECASE)

GROUPS = {
    "documents": [
        *ROOT.glob("*.md"),
        *(page for page in ROOT.glob("docs/*.md") if page.name != "python.md"),  # it repeats docstrings
        *ROOT.glob("rpc/**/*.md"),
    ],
    "raven": [*ROOT.glob("raven/**/*.py")],
    "rpc/raven_rpc": [*ROOT.glob("rpc/raven_rpc/**/*.py")],
    "scripts/stress": [*ROOT.glob("scripts/stress/**/*.py"), *ROOT.glob("tests/stress/*.py")],
}


def text(path: Path) -> str:
    """Return the prose of a document, or all docstrings of a module."""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return re.sub(r"^```.*?^```$", "", source, flags=re.DOTALL | re.MULTILINE)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, documented)]
    return "\n".join(ast.get_docstring(node) or "" for node in nodes)


def violations(prose: str) -> list[str]:
    """Return the clauses and persons that the rule forbids, in their order."""
    matches = [*HEADLESS.finditer(prose), *PERSONS.finditer(prose)]
    return [match[0] for match in sorted(matches, key=lambda match: match.start())]


@pytest.mark.parametrize("group", GROUPS)
def test_each_text_names_its_subjects(group: str) -> None:
    texts = {str(path.relative_to(ROOT)): text(path) for path in GROUPS[group]}
    assert texts

    for name, prose in texts.items():
        assert len(violations(prose)) * PER_WORDS <= len(prose.split()), (name, violations(prose))
    prose = "\n".join(texts.values())
    assert len(PERSONS.findall(prose)) * PER_WORDS <= len(prose.split()) / 2


@pytest.mark.parametrize(
    "sentence",
    [
        "It tells what is waiting.",
        "Those that died come first.",
        "Nobody has it, whoever asks.",
        "Returns None where there is none.",
    ],
)
def test_the_rule_finds_a_clause_without_its_noun(sentence: str) -> None:
    assert violations(sentence)
    assert not violations("The function returns the pending messages, or None if no subscriber waits.")
