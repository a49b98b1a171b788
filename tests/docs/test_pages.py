"""Pages cannot lie: each session and snippet of the README and docs/ is run, and each relative link is followed."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from tests.docs.examples import ROOT, fenced, sessions
from tests.support import needs

PROGRAMS = ("curl", "jq", "nats-server", "socat", "sqlite3")
# The ports in the pages; a test takes free ones instead.
PORTS = ("7713", "4222")
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
MARKDOWN = [*ROOT.glob("*.md"), *(page for name in ("docs", "examples", "rpc") for page in (ROOT / name).rglob("*.md"))]
SNIPPETS = [
    pytest.param(snippet, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, snippet in enumerate(fenced(page.read_text(encoding="utf-8"), "python"), 1)
]


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def replaced(text: str, old: Sequence[str], new: Sequence[str]) -> str:
    """Return a text with each of the old parts replaced by the new one in its place."""
    for before, after in zip(old, new, strict=True):
        text = text.replace(before, after)
    return text


def prose(page: Path) -> str:
    """Return a page without its fenced blocks and its code spans."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]*`", "`code`", text)


def anchors(page: Path) -> set[str]:
    """Return the anchors that a host of code gives to the headings of a page."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: Path) -> list[tuple[Path, str]]:
    """Return the relative links of a page: the file that each names, and the anchor within it."""
    targets = re.findall(r"\]\((?!\w+:)([^)\s]+)\)", prose(page))
    parts = [target.partition("#") for target in targets]
    return [((page.parent / path).resolve() if path else page, anchor) for path, _, anchor in parts]


@pytest.mark.parametrize("page", [page for page in PAGES if sessions(page.read_text(encoding="utf-8"))], ids=name)
def test_the_console_sessions_of_a_page_print_what_they_show(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = page.read_text(encoding="utf-8")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    needs(*(program for program in PROGRAMS if program in text))
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        free = [str(listener.getsockname()[1]) for listener in (first, second)]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAVEN")}
    environment |= {
        "HOME": str(tmp_path),
        "RAVEN_CONNECT_TIMEOUT_S": "20",  # on a loaded machine a server takes longer to start
    }
    groups: list[int] = []

    try:
        for command, printed in sessions(text):
            process = subprocess.Popen(
                ["bash", "-c", replaced(command, PORTS, free)],
                cwd=tmp_path,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
            groups.append(process.pid)
            shown, _ = process.communicate(timeout=120)
            assert replaced(shown, [str(tmp_path), *free], ["/home/you/project", *PORTS]) == printed, command
    finally:
        for group in groups:  # a server that a session has started and not ended
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_a_python_snippet_of_a_page_runs(snippet: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", snippet], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("page", MARKDOWN, ids=name)
def test_the_relative_links_of_a_page_lead_to_a_file_and_a_heading(page: Path) -> None:
    for target, anchor in links(page):
        assert target.exists(), target
        assert not anchor or anchor in anchors(target), f"{target}#{anchor}"


def test_the_layout_of_contributing_names_modules_that_are_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")

    rows = re.findall(r"^\| `(raven/\w+/)` \| (.*)$", text, re.MULTILINE)
    assert {folder for folder, _ in rows} == {f"raven/{path.parent.name}/" for path in ROOT.glob("raven/*/__init__.py")}
    for folder, content in rows:
        for module in re.findall(r"`([a-z_]+)(?:\.py|/)?`", content):
            assert (ROOT / folder / module).is_dir() or (ROOT / folder / f"{module}.py").is_file(), folder + module
