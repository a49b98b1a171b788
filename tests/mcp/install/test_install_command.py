"""`raven install` as a command: the list, the question, JSON, and wrong words."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from raven.cli.commands.agents.install import _HOSTS
from raven_mcp.install.catalogue import HOSTS
from tests.mcp.install.stand_ins import RAVEN, Machine


def test_the_command_knows_every_host() -> None:
    assert tuple(HOSTS) == _HOSTS


def test_the_list_has_each_host_with_its_program_and_its_installation(machine: Machine) -> None:
    machine.has("gemini")
    gemini = machine.has_program("cursor")
    machine.install("cursor")

    lines = machine.shell.ok("install").splitlines()

    assert [line.split() for line in lines] == [
        ["HOST", "PROGRAM", "INSTALLED", "WHERE", "HOOKS"],
        ["claude-code", "not", "found", "no", "-", "-"],
        ["codex", "not", "found", "no", "-", "-"],
        ["gemini", str(machine.home / ".gemini"), "no", "-", "-"],
        ["opencode", "not", "found", "no", "-", "-"],
        ["cursor", str(gemini), "user", "~/.cursor/mcp.json", "yes"],
        ["install", "with:", "raven", "install", "gemini"],
    ]


def test_the_list_names_a_broken_installation(machine: Machine) -> None:
    machine.has("gemini")
    machine.install("gemini")
    machine.write(".gemini/settings.json", '{"raven"')

    assert "broken" in machine.shell.ok("install")
    [found] = [one for one in machine.shell.json("install", "-j")["hosts"] if one["host"] == "gemini"]
    assert "is not JSON" in found["installed"][0]["problem"]


@pytest.mark.parametrize("text", [b"[mcp_servers.raven", b"# raven\n\xff"])
def test_the_list_names_a_broken_configuration_of_codex(machine: Machine, text: bytes) -> None:
    machine.write(".codex/config.toml", text)

    [found] = [one for one in machine.shell.json("install", "-j")["hosts"] if one["host"] == "codex"]
    assert "so it was left alone" in found["installed"][0]["problem"]


def test_the_list_passes_over_a_broken_file_that_does_not_name_raven(machine: Machine) -> None:
    machine.write(".codex/config.toml", "[mcp_servers.other")
    machine.write(".gemini/settings.json", "// mine")

    assert all(not one["installed"] for one in machine.shell.json("install", "-j")["hosts"])


def test_the_outcome_in_json_has_the_steps_and_the_tools(machine: Machine) -> None:
    machine.has("cursor")

    [cursor] = machine.shell.json("install", "cursor", "--yes", "-j")["hosts"]

    assert (cursor["host"], cursor["result"], cursor["tools"] > 0, len(cursor["steps"])) == (
        "cursor",
        "installed",
        True,
        2,
    )
    assert machine.shell.json("install", "cursor", "--yes", "-j")["hosts"][0]["result"] == "unchanged"
    assert machine.shell.json("install", "--uninstall", "--yes", "-j")["hosts"][0]["result"] == "removed"


def test_a_refusal_in_json_has_the_problem_and_the_snippet(machine: Machine) -> None:
    machine.has("cursor")
    machine.write(".cursor/mcp.json", "{ // mine\n}")

    done = machine.shell.run("install", "cursor", "--yes", "-j")

    assert (done.returncode, done.stderr) == (2, "")
    [cursor] = json.loads(done.stdout)["hosts"]
    assert cursor["result"] == "refused"
    assert "has comments" in cursor["problem"]
    assert json.loads(cursor["snippet"])["mcpServers"]["raven"]["command"] == RAVEN


def test_an_uninstall_without_a_host_takes_raven_off_every_host(machine: Machine) -> None:
    for host in ("gemini", "cursor", "opencode"):
        machine.has(host)
    before = machine.snapshot()
    machine.install("gemini", "cursor", "opencode")

    said = machine.install("--uninstall")

    assert [line for line in said.splitlines() if line.endswith(": removed")] == [
        "gemini: removed",
        "opencode: removed",
        "cursor: removed",
    ]
    assert machine.snapshot() == before
    assert machine.install("--uninstall") == "raven is installed nowhere\n"


def test_without_a_terminal_a_change_needs_a_yes(machine: Machine) -> None:
    machine.has("gemini")
    before = machine.snapshot()

    done = machine.shell.run("install", "gemini")

    assert done.returncode == 2
    assert "there is no terminal to ask on: look at it with --dry-run, then add --yes" in done.stderr
    assert machine.snapshot() == before


@pytest.mark.parametrize(("typed", "code"), [("y\n", 0), ("n\n", 1), ("\n", 1)])
def test_on_a_terminal_the_user_is_asked_after_the_diff(machine: Machine, typed: str, code: int) -> None:
    machine.has("gemini")

    ended, shown = machine.shell.on_terminal("install", "gemini", typed=typed)

    assert ended == code
    assert shown.index("+++ ") < shown.index("make these changes for gemini? [y/N]")
    assert (machine.home / ".gemini/settings.json").exists() == (code == 0)


def test_an_unknown_host_is_refused_with_the_known_ones(machine: Machine) -> None:
    done = machine.shell.run("install", "emacs")

    assert done.returncode == 2
    assert "'emacs'" in done.stderr
    assert "claude-code" in done.stderr


def test_a_permission_for_a_host_that_has_none_is_refused(machine: Machine) -> None:
    done = machine.refused(2, "gemini", "--allow")

    assert "--allow changes Claude Code alone" in done.stderr


def test_a_diff_cannot_colour_the_terminal(machine: Machine) -> None:
    machine.has("gemini")
    machine.write(".gemini/settings.json", '{\n  "x": "\u202e\u0085"\n}\n')

    said = machine.shell.ok("install", "gemini", "--dry-run")

    assert "\\u202e\\x85" in said


def test_folders_of_hosts_can_be_named_by_their_variables(machine: Machine, tmp_path: Path) -> None:
    variables = {"CLAUDE_CONFIG_DIR": "cl", "CODEX_HOME": "co", "XDG_CONFIG_HOME": "xdg"}
    folders = {name: str(tmp_path / folder) for name, folder in variables.items()}
    for folder in ("cl", "co", "xdg/opencode"):
        os.makedirs(tmp_path / folder)
    machine.shell.environment.update(folders)

    machine.install("claude-code", "codex", "opencode")

    assert (tmp_path / "cl/.claude.json").exists()
    assert (tmp_path / "cl/settings.json").exists()
    assert (tmp_path / "co/config.toml").exists()
    assert (tmp_path / "xdg/opencode/opencode.json").exists()
