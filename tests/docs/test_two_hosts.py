"""The script of two hosts shows each promised step, leaves no process, and overwrites nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from raven import BusObserver
from tests.docs.examples import ROOT
from tests.support import needs


def two_hosts(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Run the program of scripts/two-hosts, for a caller in a folder."""
    command = [sys.executable, "-m", "scripts.two_hosts", str(folder), *args]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)


def test_mail_a_question_and_a_killed_server_are_shown_and_both_buses_stay(tmp_path: Path) -> None:
    needs("nats-server")

    done = two_hosts(tmp_path, "hosts")

    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line for line in lines if len(line.replace(str(tmp_path), "")) > 120 and line[:1] != "$"] == []
    at = -1
    for line in (
        '#1 boss:demo -> worker:demo type=job {"n": 1}',
        "#2 boss:demo -> worker:demo type=add [40, 2]",
        "42",
        '#4 boss:demo -> worker:demo type=job {"n": 2}',
        '#5 boss:demo -> worker:demo type=job {"n": 3}',
    ):
        at = lines.index(line, at + 1)
    with BusObserver(str(tmp_path / "hosts" / "alpha" / "bus.db")) as bus:
        assert [(one.state, one.host) for id_ in (1, 2, 4, 5) for one in bus.receipts(id_)] == [("acked", "beta")] * 4
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(tmp_path) not in running


def test_a_folder_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    needs("nats-server")

    done = two_hosts(tmp_path, ".")

    assert (done.returncode, list(tmp_path.iterdir())) == (2, [])
    assert "exists already: name another folder" in done.stderr


@pytest.mark.parametrize(
    ("option", "code", "text"),
    [("--help", 0, "scripts/two-hosts [FOLDER]"), ("--frob", 2, "error: --frob is no option")],
)
def test_an_option_is_no_name_of_a_folder(option: str, code: int, text: str) -> None:
    command = [str(ROOT / "scripts" / "two-hosts"), option]

    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    assert done.returncode == code
    assert text in done.stdout + done.stderr
