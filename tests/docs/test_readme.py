"""The README is short, names each page, and starts with commands that are there; test_pages.py runs its sessions."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from raven.cli.exit_codes import EXIT_CODES, GENERAL, USAGE
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
    assert set(re.findall(r"\]\((docs/\w+\.md)\)", index)) == pages


def test_the_table_of_exit_codes_is_complete() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")

    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}
    assert codes == {0, GENERAL, USAGE, *EXIT_CODES.values()}


@pytest.mark.slow
def test_the_demo_reviews_this_checkout_and_ends_by_itself(tmp_path: Path) -> None:
    bus = tmp_path / "demo.db"

    done = subprocess.run([ROOT / "scripts/demo", bus], capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 0, done.stderr
    assert re.search(r"^raven/cli +\d+ +\d+", done.stdout, flags=re.MULTILINE)
    files = int(re.search(r"^all +(\d+)", done.stdout, flags=re.MULTILINE)[1])
    shares = {who: int(count) for who, count in re.findall(r"(\w+ \d+) \((\d+)\)", done.stdout)}
    assert sum(shares.values()) == files
    assert len(shares) == 4, shares
    assert any(who.startswith("shell") for who in shares)
    # Two messages a file, one stop a reviewer, the assignment, and the news that it is published.
    assert f"{2 * files + 4 + 2} messages among 6 processes" in done.stdout
    raven = shutil.which("raven", path=str(Path(sys.executable).parent)) or "raven"
    tail = subprocess.run(
        [raven, "tail", "--no-follow", "--db", bus], capture_output=True, text=True, timeout=30, check=True
    )
    assert len(tail.stdout.splitlines()) == 2 * files + 4 + 2
