"""Texts that no terminal, pipe or shell can show or take as they are do no harm, and end no command halfway."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.cli.shell import Shell
from tests.support import Foreign, needs


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "iso8859-15"])
def test_letters_that_the_output_has_not_show_as_escapes_and_the_message_is_not_lost(
    shell: Shell, encoding: str
) -> None:
    for body in ("東京", "é"):
        shell.ok("send", "--from", "a:s", "--to", "b:s", "-t", "x", "--body", json.dumps(body))

    process = subprocess.run(
        [sys.executable, "-m", "raven", "subscribe", "-a", "b:s", "--count", "2", "--timeout", "20"],
        env={**shell.environment, "PYTHONIOENCODING": encoding},
        capture_output=True,
        check=False,
        cwd=shell.folder,
    )

    assert (process.returncode, process.stderr) == (0, b"")
    first, second = process.stdout.decode(encoding).splitlines()
    assert first.endswith(r'"\u6771\u4eac"')
    assert second.endswith('"é"')


def test_a_lone_surrogate_of_a_foreign_writer_does_not_end_a_pipe_to_jq(shell: Shell, foreign: Foreign) -> None:
    needs("jq")
    shell.ok("session", "init", "s", "-a", "b:s")
    foreign.execute(
        "INSERT INTO outbox (sender, recipient, type, body) VALUES ('a:s', 'b:s', 'x', ?)", r'["\ud800", "\uDFFF"]'
    )
    shell.ok("send", "--from", "a:s", "--to", "b:s", "-t", "x", "--body", '"next"')

    lines = shell.ok("tail", "--no-follow", "--json")

    read = subprocess.run(["jq", "-c", ".body"], input=lines, capture_output=True, text=True, check=True).stdout
    assert read == '["\ufffd","\ufffd"]\n"next"\n'


@pytest.mark.both_ways
def test_exec_hands_over_a_text_on_stdin_and_nowhere_else(shell: Shell) -> None:
    evil = "$(touch made) `touch made` '; touch made; ' \n touch made \n -x"
    arguments = ["--from=-a:s", "--to=b:s", f"--type={evil}", f"--tag={evil}", f"--body={json.dumps(evil)}"]
    shell.ok("send", *arguments, f"--task-id={evil}", f"--correlation-id={evil}", f"--dedup-key={evil}")
    probe = "import json, os, sys; print(json.dumps([sys.argv, sorted(os.environ), json.load(sys.stdin)]))"
    (shell.folder / "probe.py").write_text(probe)

    printed = shell.ok("subscribe", "-a", "b:s", "--count", "1", "--exec", f"{sys.executable} probe.py one two")

    argv, environment, message = json.loads(printed)
    assert argv == ["probe.py", "one", "two"]
    # A shell adds some; readline, which pytest imports in a run without workers, adds the size of the terminal.
    added = {"PWD", "OLDPWD", "SHLVL", "_", "LC_CTYPE", "COLUMNS", "LINES"}
    assert set(environment) <= {*shell.environment, *added}
    assert [message[name] for name in ("type", "body", "task_id", "dedup_key")] == [evil] * 4
    assert not os.path.exists(shell.folder / "made")
