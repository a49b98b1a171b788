"""`raven install` when a step fails: everything is taken back, and the user learns why."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from raven_mcp.install import handshake
from tests.cli.shell import DEADLINE_S
from tests.mcp.install.stand_ins import CLAUDE, CODEX, HOSTS, PROGRAMS, RAVEN, Machine


def break_server(machine: Machine, source: str) -> None:
    """Let `raven` on PATH be a program that is no server; the files of a project name it."""
    (machine.bin / "raven").unlink()
    machine.has_program("raven", source)


SILENT = {
    "no answer": ("", "does not answer: it ended with exit code 0"),
    "an exit code": ("sys.exit(3)", "does not answer: it ended with exit code 3"),
    "an error": ("print('no such module', file=sys.stderr); sys.exit(1)", "does not answer: no such module"),
    "other words": ("print('hello')", "does not answer"),
    "no tools": ("""print('{"jsonrpc":"2.0","id":2,"result":{"tools":[]}}')""", "does not answer"),
}


@pytest.mark.parametrize(("source", "reason"), SILENT.values(), ids=SILENT)
def test_a_server_that_does_not_answer_takes_everything_back(machine: Machine, source: str, reason: str) -> None:
    break_server(machine, source)
    (machine.project / ".gemini").mkdir()
    before = machine.snapshot()

    done = machine.refused(1, "gemini", "--scope", "project")

    assert reason in done.stderr
    assert done.stderr.rstrip().endswith("; nothing was changed")
    assert machine.snapshot() == before


def test_a_server_that_never_answers_is_ended(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshake, "_TIMEOUT_S", 0.5)
    break_server(machine, "import time; (home / 'pid').write_text(str(os.getpid())); time.sleep(60)")

    done = machine.refused(1, "gemini", "--scope", "project")

    assert "has not answered within 0.5 s; nothing was changed" in done.stderr
    with pytest.raises(ProcessLookupError):
        os.kill(int((machine.home / "pid").read_text()), 0)


def test_a_server_that_is_no_program_is_named(machine: Machine) -> None:
    machine.has("gemini")
    machine.install("gemini")
    text = (machine.home / ".gemini/settings.json").read_text()
    machine.write(".gemini/settings.json", text.replace(f'"{RAVEN}"', f'"{machine.home}/text/raven"'))
    machine.write("text/raven", "no program")

    found = json.loads(machine.shell.run("doctor", "-j").stdout)["checks"]

    [gemini] = [check for check in found if check["name"] == "gemini"]
    assert "cannot start: Permission denied" in gemini["found"]


@pytest.mark.parametrize("host", HOSTS)
def test_each_host_is_as_before_after_a_failure(machine: Machine, host: str) -> None:
    break_server(machine, "")
    (machine.project / ".mcp.json").write_text('{"x": 1}')
    before = machine.snapshot()

    machine.refused(1, host, "--scope", "project")

    assert machine.snapshot() == before


def test_a_bare_command_that_is_not_on_path_is_named(machine: Machine) -> None:
    (machine.bin / "raven").unlink()

    done = machine.refused(1, "codex", "--scope", "project")

    assert "the server `raven mcp` cannot start: there is no such program on PATH" in done.stderr
    assert not (machine.project / ".codex").exists()


def test_a_failed_repetition_takes_nothing_off(machine: Machine) -> None:
    machine.install("gemini", "--scope", "project")
    break_server(machine, "")
    before = machine.snapshot()

    machine.refused(1, "gemini", "--scope", "project")

    assert machine.snapshot() == before


def test_a_failed_command_of_a_host_takes_everything_back(machine: Machine) -> None:
    machine.has("claude-code")
    machine.has_program("claude", CLAUDE + "if sys.argv[2] == 'install': sys.exit('no such marketplace')\n")
    machine.write(".claude/settings.json", '{"x":  1}')
    before = machine.snapshot()

    done = machine.refused(1, "claude-code")

    assert "failed: no such marketplace" in done.stderr
    assert machine.snapshot() == before
    assert [call[1:3] for call in machine.calls()] == [
        ["marketplace", "add"],
        ["install", "raven@raven-bus"],
        ["marketplace", "remove"],
    ]


def test_a_plugin_that_is_not_enabled_is_taken_off_again(machine: Machine) -> None:
    machine.has("claude-code")
    machine.has_program("claude", CLAUDE.replace("[plugin] = True", "[plugin] = False"))
    before = machine.snapshot()

    done = machine.refused(1, "claude-code")

    assert "claude-code does not show the server that was just installed; nothing was changed" in done.stderr
    assert machine.snapshot() == before


def test_a_failed_uninstall_of_the_plugin_installs_it_again(machine: Machine) -> None:
    machine.has("claude-code")
    machine.has_program("claude", CLAUDE)
    machine.install("claude-code")
    before = machine.snapshot()
    machine.has_program("claude", CLAUDE + "if sys.argv[3] == 'remove': sys.exit('it is in use')\n")

    done = machine.refused(1, "claude-code", "--uninstall")

    assert "failed: it is in use" in done.stderr
    enabled = machine.read(".claude/settings.json")["enabledPlugins"]
    assert enabled == {"raven@raven-bus": True}
    assert machine.snapshot().keys() == before.keys()


def test_a_step_that_cannot_be_taken_back_is_named(machine: Machine) -> None:
    break_server(machine, "import shutil; shutil.rmtree('.gemini'); pathlib.Path('.gemini').write_text('')")

    done = machine.refused(1, "gemini", "--scope", "project")

    assert "could not take back: " in done.stderr


def test_a_failed_codex_leaves_its_configuration_as_it_was(machine: Machine) -> None:
    machine.has_program("codex", CODEX + "sys.exit('out of order')\n")
    machine.write(".codex/config.toml", 'model = "x"\n')
    before = machine.snapshot()

    done = machine.refused(1, "codex")

    assert "codex mcp add raven" in done.stderr
    assert "failed: out of order" in done.stderr
    assert machine.snapshot() == before


@pytest.mark.parametrize("host", HOSTS)
def test_a_host_that_is_not_there_is_refused(machine: Machine, host: str) -> None:
    done = machine.refused(2, host)

    assert f"this machine has no {host}: neither `{PROGRAMS[host]}`" in done.stderr
    assert not machine.calls()


@pytest.mark.parametrize("host", HOSTS)
def test_a_folder_that_cannot_be_written_is_named(machine: Machine, host: str) -> None:
    machine.has(host)
    for folder in (machine.home, *(path for path in machine.home.rglob("*") if path.is_dir())):
        folder.chmod(0o555)
    before = machine.snapshot()

    done = as_ordinary_user(machine, "install", host, "--yes")

    for folder in (machine.home, *(path for path in machine.home.rglob("*") if path.is_dir())):
        folder.chmod(0o755)
    assert done.returncode == 1, done
    assert "Permission denied" in done.stderr
    assert done.stderr.rstrip().endswith("nothing was changed")
    assert {path: data for path, (_, data) in machine.snapshot().items()} == {
        path: data for path, (_, data) in before.items()
    }


def as_ordinary_user(machine: Machine, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command to which permissions apply, also if the tests run as root."""
    program = Path(__file__).with_name("without_rights.py")
    return subprocess.run(
        [sys.executable, program, RAVEN, *words],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        cwd=machine.project,
        env=machine.shell.environment,
        check=False,
    )


def test_a_bus_file_with_a_strange_path_is_refused(machine: Machine) -> None:
    machine.has("gemini")

    assert "'a\\x00b' has an unprintable character" in machine.refused(2, "gemini", "--db", "a\0b").stderr
