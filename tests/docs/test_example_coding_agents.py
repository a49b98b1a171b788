"""Three sessions of coding agents: an idle one wakes, one that is killed leaves its mail to its successor."""

from __future__ import annotations

from pathlib import Path

from raven import BusObserver
from tests.docs.examples import CODING_AGENTS, blocks, messages_on, run, shapes, succeed


def test_an_idle_agent_is_woken_and_the_mail_of_a_killed_one_goes_to_its_successor(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    output = succeed(CODING_AGENTS, tmp_path, str(folder))

    assert shapes(output.replace(str(folder), "/tmp/demo")) == shapes(blocks("09-coding-agents", "text")[-1])
    db = folder / "bus.db"
    question, column, task, finding, done, second_task, verified = messages_on(db)
    assert [msg.type for msg in (question, task, finding, second_task)] == ["question", "task", "finding", "task"]
    assert [msg.reply_to for msg in (column, done, verified)] == [question.id, task.id, second_task.id]
    woken = [line.split()[3] for line in output.splitlines() if line.startswith("verifier  ") and " wakes: " in line]
    assert woken == [f"#{question.id}", f"#{second_task.id}"]  # and not for the finding, which is fyi
    with BusObserver(str(db)) as bus:
        assert {receipt.recipient for receipt in bus.receipts(finding.id)} == {"architect:demo", "verifier:demo"}


def test_a_folder_that_is_there_already_is_left_as_it_is(tmp_path: Path) -> None:
    again = run(CODING_AGENTS, tmp_path, str(tmp_path))

    assert (again.returncode, list(tmp_path.iterdir())) == (2, [])
    assert f"{tmp_path} cannot be made: File exists" in again.stderr
