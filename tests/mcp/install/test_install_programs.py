"""`raven install` with the programs of hosts, by stand-ins: plugins and servers come and go by their own commands."""

from __future__ import annotations

import json
import shlex

import pytest

from raven import __version__
from raven_mcp.install.entries import Program
from raven_mcp.install.hosts.claude_code import ClaudeCode
from raven_mcp.install.integrations import FOLDER, read_folder
from tests.mcp.install.stand_ins import CLAUDE, CODEX, RAVEN, Machine

PLUGIN = ["plugin", "install", "raven@raven-bus"]


@pytest.fixture
def claude(machine: Machine) -> Machine:
    """Return a machine with the program `claude`."""
    machine.has("claude-code")
    machine.has_program("claude", CLAUDE)
    return machine


def test_claude_code_gets_a_plugin_with_the_full_path_of_raven(claude: Machine) -> None:
    said = claude.install("claude-code")

    copy = claude.home / ".raven/claude-code"
    assert claude.calls() == [["plugin", "marketplace", "add", str(copy)], PLUGIN]
    assert json.loads((copy / "raven/.mcp.json").read_text()) == {
        "mcpServers": {"bus": {"command": RAVEN, "args": ["mcp"]}}
    }
    hooks = json.loads((copy / "raven/hooks/hooks.json").read_text())["hooks"]
    assert hooks["SessionStart"][0]["hooks"][0]["command"] == RAVEN
    assert hooks["Stop"][0]["hooks"][0]["server"] == "plugin:raven:bus"
    assert not (claude.home / ".claude.json").exists()
    assert "claude-code: ok, 7 tools" in said


def test_the_plugin_is_installed_once_and_leaves_nothing_behind(claude: Machine) -> None:
    claude.write(".claude/settings.json", '{\n  "theme": "dark"\n}\n')
    before = claude.snapshot()
    claude.install("claude-code")
    calls = claude.calls()

    assert "nothing to change" in claude.install("claude-code")
    assert claude.calls() == calls
    claude.install("claude-code", "--uninstall")

    assert claude.snapshot() == before
    assert claude.calls()[2:] == [
        ["plugin", "uninstall", "raven@raven-bus"],
        ["plugin", "marketplace", "remove", "raven-bus"],
    ]


def test_a_changed_plugin_is_installed_anew(claude: Machine) -> None:
    claude.install("claude-code")

    claude.install("claude-code", "--no-hooks")

    assert [call[1] for call in claude.calls()[2:]] == ["uninstall", "marketplace", "marketplace", "install"]
    assert not (claude.home / ".raven/claude-code/raven/hooks").exists()


def test_entries_in_files_go_when_the_plugin_comes(machine: Machine) -> None:
    machine.has("claude-code")
    machine.write(".claude.json", '{"projects": {}}')
    before = machine.snapshot()
    machine.install("claude-code")
    machine.has_program("claude", CLAUDE)

    machine.install("claude-code")
    assert (machine.home / ".claude.json").read_text() == '{"projects": {}}'
    machine.install("claude-code", "--uninstall")

    assert machine.snapshot() == before


def test_the_plugin_cannot_be_taken_off_without_the_program(claude: Machine) -> None:
    claude.install("claude-code")
    (claude.bin / "claude").unlink()

    assert "it alone can uninstall the plugin" in claude.refused(2, "claude-code", "--uninstall").stderr


def test_a_disabled_plugin_is_shown_and_enabled_or_taken_off(claude: Machine) -> None:
    claude.install("claude-code")
    path = claude.home / ".claude/settings.json"
    path.write_text(path.read_text().replace("true", "false"))

    assert "is disabled" in claude.shell.ok("install", "-j")
    claude.install("claude-code")
    assert claude.read(".claude/settings.json")["enabledPlugins"] == {"raven@raven-bus": True}
    path.write_text(path.read_text().replace("true", "false"))
    claude.install("--uninstall")

    assert not path.exists()


def test_the_tools_of_the_plugin_are_allowed_by_their_own_name(claude: Machine) -> None:
    claude.install("claude-code", "--allow")

    assert claude.read(".claude/settings.json")["permissions"] == {"allow": ["mcp__plugin_raven_bus"]}


def test_codex_adds_the_server_by_its_own_command(machine: Machine) -> None:
    machine.has_program("codex", CODEX)

    said = machine.install("codex")

    assert machine.calls()[0] == ["mcp", "add", "raven", "--", RAVEN, "mcp"]
    assert f"run {machine.bin}/codex mcp add raven -- {shlex.quote(RAVEN)} mcp" in said
    assert "nothing to change" in machine.install("codex")


def test_the_files_of_a_plugin_in_the_wheel_are_those_of_an_installation() -> None:
    shipped = dict(read_folder("claude-code"))

    assert ClaudeCode().plugin_files(Program("raven")) == shipped


def test_the_plugin_has_the_version_of_raven_and_an_icon_of_512_pixels() -> None:
    shipped = dict(read_folder("claude-code"))

    assert json.loads(shipped["raven/.claude-plugin/plugin.json"])["version"] == __version__
    icon = shipped["raven/.claude-plugin/icon.png"]
    assert icon[:8] == b"\x89PNG\r\n\x1a\n"
    assert (int.from_bytes(icon[16:20]), int.from_bytes(icon[20:24])) == (512, 512)
    assert len(shipped["raven/README.md"].split()) > 40
    assert FOLDER.endswith("raven_mcp/integrations")
