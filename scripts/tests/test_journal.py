"""A journal survives the kill -9 of its process, and its complete lines are readable."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.stress.history import journal
from scripts.stress.history.journal import Journal, digest

KILLED = """
import os, signal, sys
from pathlib import Path
from scripts.stress.history.journal import Journal
journal = Journal(Path(sys.argv[1]), "one.1")
for number in range(1000):
    journal.write("sent", call=number, ids=[])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_events_of_a_process_survive_its_kill(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)

    events = list(journal.read(tmp_path))

    assert killed.returncode == -signal.SIGKILL
    assert [(event.process, event.type, event.fields["call"]) for event in events] == [
        ("one.1", "sent", number) for number in range(1000)
    ]
    assert [event.at for event in events] == sorted(event.at for event in events)


def test_an_incomplete_last_line_is_skipped(tmp_path: Path) -> None:
    Journal(tmp_path, "one.1").write("asking")
    with (tmp_path / "one.1.jsonl").open("ab") as file:
        file.write(b'[12.5,17,"recei')

    assert [event.type for event in journal.read(tmp_path)] == ["asking"]


def test_any_other_line_that_is_not_an_event_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "one.1.jsonl").write_bytes(b'[12.5,17,"recei\n[12.5,17.5,"asking",{}]\n')

    with pytest.raises(ValueError, match="Unterminated"):
        list(journal.read(tmp_path))


def test_processes_are_read_by_a_pattern_in_the_order_of_their_names(tmp_path: Path) -> None:
    for process in ("one.2", "two.1", "one.1"):
        Journal(tmp_path, process).write("asking")

    assert [event.process for event in journal.read(tmp_path, "one.*")] == ["one.1", "one.2"]


def test_the_digest_depends_on_the_value_and_not_on_its_text() -> None:
    assert digest({"a": 1, "b": "\u00e9"}) == digest({"b": "é", "a": 1})
    assert digest({"a": 1}) != digest({"a": "1"})
