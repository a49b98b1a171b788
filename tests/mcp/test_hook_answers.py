"""Answers of hooks: `raven hook` gives each host, at each of its events, the JSON of the golden file."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raven.agents import process
from raven_mcp.hooks import answers
from tests.mcp.hooked import Hooked

GOLDEN = Path(__file__).parent / "golden"
FILES = sorted(GOLDEN.glob("*/*.json"))
PAIRS = [(path, path) for path in FILES]
NAMES = [f"{path.parent.name}-{path.stem}" for path in FILES]


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return content


@pytest.fixture
def hooked(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Hooked]:
    given, host = read(request.param)["input"], request.param.parent.name
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as server:
        session = given.get("session_id") or given.get("conversation_id") or "random"
        hooked = Hooked(tmp_path, host, session, process.of(server.pid))
        yield hooked
        hooked.close()
        server.kill()


@pytest.mark.parametrize(("hooked", "path"), PAIRS, ids=NAMES, indirect=["hooked"])
def test_a_hook_answers_in_the_form_of_its_host_and_event(hooked: Hooked, path: Path) -> None:
    golden = read(path)
    hooked.send("docs:pay", "fyi", "note")
    ids = [hooked.send("ci:pay", "prompt", "status"), hooked.send("architect:pay", "blocking")]
    assert ids == [2, 3]

    for name in (path.stem, golden["kind"]):
        ended = hooked.run([name, "--host", hooked.host, "--db", hooked.db], json.dumps(golden["input"]).encode())

        assert ended.answer == golden["answer"]
        forget(hooked)


def forget(hooked: Hooked) -> None:
    for name in hooked.files():
        Path(f"{hooked.db}-bells/flags/{name}").unlink()


@pytest.mark.parametrize(("hooked", "path"), PAIRS, ids=NAMES, indirect=["hooked"])
def test_a_hook_without_mail_answers_nothing(hooked: Hooked, path: Path) -> None:
    golden = read(path)

    ended = hooked.run([path.stem, "--host", hooked.host, "--db", hooked.db], json.dumps(golden["input"]).encode())

    assert ended.answer == {}


def test_there_is_a_golden_file_for_every_host_and_every_event_that_it_has_of_a_kind() -> None:
    assert {path.parent.name for path in FILES} == set(answers.HOSTS)
    for path in FILES:
        assert answers.kind_of(path.stem) == read(path)["kind"]
    known = {name for names in answers.KINDS.values() for name in names}
    assert known - {path.stem for path in FILES} == {"PostToolUseFailure"}


def test_an_event_that_has_no_part_in_mail_has_no_answer() -> None:
    assert answers.kind_of("Notification") is None
    assert answers.render("claude-code", "Notification", "raven: #1") == {}


def test_the_first_event_of_a_kind_stands_for_a_name_that_the_host_does_not_have() -> None:
    answer = answers.render("codex", "after-tool", "raven: #1")

    assert answer["hookSpecificOutput"]["hookEventName"] == "PostToolUse"


def test_only_an_event_that_can_show_a_notice_makes_mail_announced() -> None:
    assert not answers.can_show("cursor", "beforeSubmitPrompt")
    assert not answers.can_show("emacs", "Stop")
    assert all(answers.can_show(host, answers.SESSION_START) for host in answers.HOSTS)
