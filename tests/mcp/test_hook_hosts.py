"""Hooks beside a real `raven mcp`: the session is found, its flag is up while it has news, no mail is told twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from raven.agents import process
from raven_mcp.install.entries import Program
from scripts.harness.deadline import wait_until
from tests.mcp.harness import McpClient, environment
from tests.mcp.hooked import ADDRESS, RAVEN, SESSION, Hooked

NOTICE = "raven: #1 from architect:pay (question). Not from your user. Read with inbox."
CLIENTS = {"gemini": "gemini-cli-mcp-client", "opencode": "opencode", "cursor": "cursor-vscode"}


@contextmanager
def served(folder: Path, host: str, **env: str) -> Iterator[tuple[Hooked, McpClient]]:
    """Yield a session of a host, this process, that its own server has bound."""
    hooked = Hooked(folder, host, is_bound=False)
    with McpClient(folder, "--as", ADDRESS, db=hooked.db, name=CLIENTS.get(host, host), env=env) as client:
        client.start()
        assert client.call("peers")["you"] == ADDRESS
        yield hooked, client
    hooked.close()


@pytest.mark.parametrize("host", CLIENTS)
def test_a_host_that_does_not_tell_its_server_the_session_is_known_by_its_process(tmp_path: Path, host: str) -> None:
    with served(tmp_path, host) as (hooked, _):
        hooked.send()

        answer = hooked.hook("Stop").answer

    assert NOTICE in json.dumps(answer)


def test_two_sessions_of_one_process_are_not_told_of_each_others_mail(tmp_path: Path) -> None:
    with (
        served(tmp_path, "gemini") as (hooked, _),
        McpClient(tmp_path, "--as", "other:pay", db=hooked.db, name=CLIENTS["gemini"]) as other,
    ):
        other.start()
        other.call("peers")
        hooked.send()

        assert hooked.hook("SessionStart").answer == {}


def test_the_server_and_the_hooks_of_commands_tell_of_a_message_once(tmp_path: Path) -> None:
    with served(tmp_path, "claude-code", CLAUDE_CODE_SESSION_ID=SESSION) as (hooked, client):
        hooked.send()
        assert hooked.hook("SessionStart").context == NOTICE
        assert client.call("hook", event="UserPromptSubmit", session=SESSION, agent="") == {}

        message_id = hooked.send()
        told = client.call("hook", event="PostToolBatch", session=SESSION, agent="")
        assert f"#{message_id} " in told["hookSpecificOutput"]["additionalContext"]
        assert hooked.hook("UserPromptSubmit").context is None


def test_a_message_that_the_agent_was_shown_is_not_told(tmp_path: Path) -> None:
    with served(tmp_path, "claude-code", CLAUDE_CODE_SESSION_ID=SESSION) as (hooked, client):
        hooked.send()
        assert [message["id"] for message in client.call("inbox")["messages"]] == [1]

        assert hooked.hook("SessionStart", source="compact").context is None


@pytest.mark.parametrize("host", CLIENTS)
def test_the_shell_of_a_hook_starts_it_exactly_while_the_session_has_news(tmp_path: Path, host: str) -> None:
    with served(tmp_path, host) as (hooked, _):
        raven = Program(str(Path(sys.executable).with_name("raven")), ("--db", hooked.db))
        line = raven.hook_line("stop", host, if_flag=True)
        flag = tmp_path / ".raven" / "flags" / str(os.getpid())
        assert hooked.run([], hooked.input("Stop"), shell=line) == (0, b"", "")

        hooked.send()
        wait_until(flag.exists, "the flag")
        assert NOTICE in hooked.run([], hooked.input("Stop"), shell=line).out.decode()

        wait_until(lambda: not flag.exists(), "the end of the flag after the hook has told of the mail")
        assert hooked.run([], hooked.input("Stop"), shell=line) == (0, b"", "")
    assert list(flag.parent.iterdir()) == []


def test_a_session_that_its_host_knows_has_a_flag_of_its_name(tmp_path: Path) -> None:
    with served(tmp_path, "claude-code", CLAUDE_CODE_SESSION_ID=SESSION) as (hooked, _):
        hooked.send()

        wait_until((tmp_path / ".raven" / "flags" / SESSION).exists, "the flag")


def test_a_session_of_another_host_that_the_same_shell_has_started_is_not_that_of_the_hook(tmp_path: Path) -> None:
    """This process is the shell, and each host has one child: a server, or the hook."""
    server = [sys.executable, "-c", "import os; print(os.getpid(), flush=True); input()"]
    with subprocess.Popen(as_host(server), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout
        owner = process.of(int(other.stdout.readline()))
        hooked = Hooked(tmp_path, "gemini", "random", owner)
        hooked.send()
        hook = [*RAVEN, "hook", "stop", "--host", "gemini", "--db", hooked.db]
        answer = subprocess.run(as_host(hook), input=b"{}", capture_output=True, check=True, env=environment(tmp_path))
        hooked.close()
        other.kill()

    assert (answer.stdout, answer.stderr) == (b"{}\n", b"")


def as_host(command: list[str]) -> list[str]:
    """Return a command that runs another as its child."""
    return [sys.executable, "-c", f"import subprocess; subprocess.run({command!r}, check=True)"]


def test_a_hook_that_waits_leaves_the_mail_of_the_server_its_ring(tmp_path: Path) -> None:
    with served(tmp_path, "claude-code", CLAUDE_CODE_SESSION_ID=SESSION) as (hooked, client):
        waiting = hooked.begin("wait")
        call = client.begin("inbox", wait_s=60)
        hooked.send()

        assert [message["id"] for message in client.value(call)["messages"]] == [1]
        waiting.terminate()
        waiting.communicate()


def test_the_end_of_the_server_ends_the_hook_that_waits(tmp_path: Path) -> None:
    with served(tmp_path, "claude-code", CLAUDE_CODE_SESSION_ID=SESSION) as (hooked, client):
        waiting = hooked.begin("wait")
        client.kill()

        assert waiting.communicate(timeout=20) == (b"", b"")
        assert waiting.returncode == 0
