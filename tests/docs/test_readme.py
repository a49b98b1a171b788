"""The README is short, names each page, and starts with commands that are there; test_pages.py runs its sessions."""

from __future__ import annotations

import os
import re

from raven.cli.exit_codes import EXIT_CODES, GENERAL, INTERRUPTED, USAGE
from tests.docs.examples import ROOT, fenced

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_two_commands_of_the_start_are_there_and_can_be_run() -> None:
    [start] = [block for block in fenced(README, "sh") if "scripts/" in block]

    commands = [line.split()[0] for line in start.splitlines()]

    assert commands == ["scripts/demo", "scripts/test"]
    for command in [*commands, "scripts/check", "scripts/bench", ".ci/run"]:
        assert os.access(ROOT / command, os.X_OK), command


def test_a_newcomer_can_read_the_readme_in_minutes() -> None:
    assert len(README.splitlines()) <= 220


def test_the_index_of_the_readme_names_each_page() -> None:
    index = README.partition("## Documentation\n")[2]

    pages = {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")}
    assert set(re.findall(r"\]\((docs/[\w-]+\.md)\)", index)) == pages


def test_the_table_of_exit_codes_is_complete() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")

    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}
    assert codes == {0, GENERAL, USAGE, *EXIT_CODES.values(), INTERRUPTED}
