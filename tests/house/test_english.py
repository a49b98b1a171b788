"""The English rule of CONTRIBUTING, counted: no headless clauses, no indefinite persons, no long sentences.

A text is a docstring, a comment, a string of four words or more, or Markdown outside of code. A file may break the
rule once, or once in 1,000 words; all files together have the smaller budgets of `_IN_SUM`.
"""

from __future__ import annotations

import ast
import inspect
import io
import re
import subprocess
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_LONGEST_SENTENCE = 30
# Per 1,000 words.
_IN_SUM = {"headless clause": 1.0, "indefinite person": 0.5, "long sentence": 1.0}

_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_VERBS = (
    "is are was were has have had can cannot could will would must may might does do did comes? came waits? wants? "
    "asks? sends? needs? holds? takes? reads? writes? stands?"
)
_VERB = rf"(?:{'|'.join(_VERBS.split())})"
_RULES = {
    "headless clause": re.compile(
        rf"\bwhat(?:ever)?\s+(?:{_VERB}|it|they|he|she|this|that|others?|one|time)\b"
        rf"|(?:\b(?:of|for|by|from|with|to|and|or|but|on)\s+|^|,\s+)who\s+{_VERB}\b"
        r"|\bthose\s+(?:that|who|which|whose|of)\b"
        r"|\bwhere\s+(?:none|nobody|there\s+(?:is|are)\s+(?:none|no)|that\s+is|it\s+is\s+not|one)\b",
        re.IGNORECASE | re.MULTILINE,
    ),
    "indefinite person": re.compile(
        r"\b(?:nobody|somebody|anybody|everybody|whoever|whomever|none\s+of\s+(?:it|them))\b", re.IGNORECASE
    ),
}
_SENTENCE_END = re.compile(r"(?<=[.!?:;])\s+|\n\s*\n|\n\s*[-*#]|\s*\|\s*")


def _python(source: str) -> Iterator[str]:
    """Yield the docstrings and other strings, and the comments; a string's lines are sentences of their own."""
    tree = ast.parse(source)
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, _DOCUMENTED) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            text = inspect.cleandoc(node.value)
            yield text if id(node) in docstrings else text.replace("\n", "\n\n")
        elif isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "VALUE" for part in node.values)
    yield from _comments(source)


def _comments(source: str) -> Iterator[str]:
    """Yield each block of comments as one text."""
    block: list[str] = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            block.append(token.string.lstrip("# "))
        elif token.type not in (tokenize.NL, tokenize.INDENT, tokenize.DEDENT):
            yield " ".join(block)
            block = []


def _markdown(source: str) -> Iterator[str]:
    """Yield the text without code; the items of a list in a table are sentences of their own."""
    text = re.sub(r"`[^`\n]*`", "CODE", re.sub(r"^ *```.*?^ *```", "", source, flags=re.DOTALL | re.MULTILINE))
    yield re.sub(r"^\|.*$", lambda row: row[0].replace(", ", ". "), text, flags=re.MULTILINE)


def _sql(source: str) -> Iterator[str]:
    yield "\n".join(line.lstrip("- ") for line in source.splitlines() if line.startswith("--"))


_READERS = {".py": _python, ".md": _markdown, ".sql": _sql}


@cache
def _files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    paths = [ROOT / name for name in listed.splitlines()]
    return [path for path in paths if path.suffix in _READERS and path != Path(__file__) and "data" not in path.parts]


@cache
def _count(path: Path) -> tuple[int, dict[str, list[str]]]:
    """Return the words of a file, and the places that break each rule."""
    words = 0
    broken: dict[str, list[str]] = {rule: [] for rule in _IN_SUM}
    for text in _READERS[path.suffix](path.read_text(encoding="utf-8")):
        if len(text.split()) < 4:
            continue
        words += len(text.split())
        for rule, pattern in _RULES.items():
            broken[rule] += [text[max(0, hit.start() - 30) : hit.end() + 30] for hit in pattern.finditer(text)]
        broken["long sentence"] += [
            sentence[:80] for sentence in _SENTENCE_END.split(text) if len(sentence.split()) > _LONGEST_SENTENCE
        ]
    return words, broken


def test_no_file_breaks_the_rule_more_than_once_in_a_thousand_words() -> None:
    offenders = {}
    for path in _files():
        words, broken = _count(path)
        places = [f"{rule}: {' '.join(place.split())}" for rule, found in broken.items() for place in found]
        if len(places) > max(1, words // 1000):
            offenders[str(path.relative_to(ROOT))] = places

    assert not offenders, "\n".join(f"{name}\n    " + "\n    ".join(places) for name, places in offenders.items())


@pytest.mark.parametrize("rule", _IN_SUM)
def test_all_files_together_keep_within_the_budget(rule: str) -> None:
    counts = [_count(path) for path in _files()]
    words = sum(count for count, _ in counts)

    assert words > 10_000
    assert sum(len(broken[rule]) for _, broken in counts) * 1000 / words <= _IN_SUM[rule]


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        ("It returns what is left of the message.", ["headless clause"]),
        ("The claims of those that have died end here.", ["headless clause"]),
        ("It waits for nobody and for whoever comes.", ["indefinite person", "indefinite person"]),
        ("The server answers requests of its clients.", []),
        ("A client who waits for an answer holds a lease.", []),
    ],
)
def test_the_rule_finds_its_clauses_and_spares_plain_sentences(text: str, rules: list[str]) -> None:
    assert [rule for rule, pattern in _RULES.items() for _ in pattern.finditer(text)] == rules
