"""`raven install` in files: the entries of each host, twice, and taken off again byte for byte."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.mcp.install.stand_ins import HOSTS, RAVEN, Machine

USER_FILES = {
    "claude-code": ".claude.json",
    "codex": ".codex/config.toml",
    "gemini": ".gemini/settings.json",
    "opencode": ".config/opencode/opencode.json",
    "cursor": ".cursor/mcp.json",
}
HOOK_FILES = {
    "claude-code": ".claude/settings.json",
    "codex": ".codex/hooks.json",
    "gemini": ".gemini/settings.json",
    "cursor": ".cursor/hooks.json",
}
TOOL = {"event": "${hook_event_name}", "session": "${session_id}"}
AGENT = {"agent": "${agent_id}", "agent_type": "${agent_type}"}
JSON_HOSTS = [host for host in HOSTS if host != "codex"]


def tool_hook(**more: str) -> dict[str, list[object]]:
    given = {**TOOL, **more}
    return {"hooks": [{"type": "mcp_tool", "server": "raven", "tool": "hook", "input": given, "timeout": 5}]}


def waiting_hook() -> dict[str, object]:
    line = f'[ -S "$CLAUDE_CODE_MESSAGING_SOCKET" ] || exec {RAVEN} hook wait --host claude-code'
    return {"type": "command", "command": line, "asyncRewake": True, "timeout": 86400}


def command_hook(kind: str) -> dict[str, object]:
    args = ["hook", kind, "--host", "claude-code"]
    return {"hooks": [{"type": "command", "command": RAVEN, "args": args, "timeout": 5}]}


def test_claude_code_without_its_program_gets_a_server_and_hooks(machine: Machine) -> None:
    machine.has("claude-code")

    machine.install("claude-code")

    server = {"type": "stdio", "command": RAVEN, "args": ["mcp"]}
    assert machine.read(".claude.json") == {"mcpServers": {"raven": server}}
    assert machine.read(".claude/settings.json") == {
        "hooks": {
            "SessionStart": [command_hook("session-start")],
            "UserPromptSubmit": [tool_hook(**AGENT)],
            "PostToolBatch": [tool_hook(**AGENT)],
            "Stop": [{"hooks": [*tool_hook(**AGENT, active="${stop_hook_active}")["hooks"], waiting_hook()]}],
            "SessionEnd": [command_hook("session-end")],
        }
    }


def test_codex_without_its_program_gets_a_marked_table_and_hooks(machine: Machine) -> None:
    machine.has("codex")

    said = machine.install("codex")

    assert (machine.home / ".codex/config.toml").read_text() == (
        f'# >>> raven >>>\n[mcp_servers.raven]\ncommand = "{RAVEN}"\nargs = ["mcp"]\n# <<< raven <<<\n'
    )
    line = f"{RAVEN} hook session-start --host codex"
    assert machine.read(".codex/hooks.json") == {
        "hooks": {
            "SessionStart": [{"hooks": [{"type": "command", "command": line, "timeout": 5}]}],
            "UserPromptSubmit": [tool_hook()],
            "PostToolUse": [tool_hook()],
            "Stop": [tool_hook(active="${stop_hook_active}")],
        }
    }
    assert said.splitlines()[-1] == (
        "codex: open `codex` once and trust the hooks with /hooks: "
        "until then mail is seen when a tool of raven is called"
    )


def test_gemini_gets_commands_that_look_for_a_flag_first(machine: Machine) -> None:
    machine.has("gemini")

    machine.install("gemini")

    settings = machine.read(".gemini/settings.json")
    assert settings["mcpServers"] == {"raven": {"command": RAVEN, "args": ["mcp"]}}
    commands = {event: item["hooks"][0]["command"] for event, [item] in settings["hooks"].items()}
    flag = '[ ! -e "$HOME/.raven/flags/$PPID" ] || exec'
    assert commands == {
        "SessionStart": f"{RAVEN} hook session-start --host gemini",
        "BeforeAgent": f"{flag} {RAVEN} hook prompt --host gemini",
        "AfterTool": f"{flag} {RAVEN} hook after-tool --host gemini",
        "AfterAgent": f"{flag} {RAVEN} hook stop --host gemini",
        "SessionEnd": f"{RAVEN} hook session-end --host gemini",
    }
    assert {item["hooks"][0]["timeout"] for [item] in settings["hooks"].values()} == {5000}


def test_opencode_gets_one_list_for_its_command_and_a_plugin(machine: Machine) -> None:
    machine.has("opencode")

    machine.install("opencode")

    entry = {"type": "local", "command": [RAVEN, "mcp"], "enabled": True}
    assert machine.read(".config/opencode/opencode.json") == {"mcp": {"raven": entry}}
    plugin = (machine.home / ".config/opencode/plugins/raven.ts").read_text()
    assert f'const RAVEN = ["{RAVEN}"]' in plugin


def test_cursor_gets_a_file_for_the_server_and_a_file_for_hooks(machine: Machine) -> None:
    machine.has("cursor")

    said = machine.install("cursor")

    assert machine.read(".cursor/mcp.json") == {"mcpServers": {"raven": {"command": RAVEN, "args": ["mcp"]}}}
    hooks = machine.read(".cursor/hooks.json")
    assert (hooks["version"], list(hooks["hooks"])) == (1, ["sessionStart", "postToolUse", "stop", "sessionEnd"])
    assert hooks["hooks"]["stop"] == [{"command": f"{RAVEN} hook stop --host cursor", "timeout": 5, "loop_limit": 3}]
    assert "not tried with Cursor" in said


@pytest.mark.parametrize("host", HOSTS)
def test_files_of_a_project_have_the_bare_command_and_go_into_its_folder(machine: Machine, host: str) -> None:
    home = machine.snapshot()

    machine.install(host, "--scope", "project")

    new = {path: content for path, (_, content) in machine.snapshot().items() if path not in home}
    files = {path for path, content in new.items() if content != b"/"}
    assert (
        files
        == {
            "claude-code": {".mcp.json", ".claude/settings.json"},
            "codex": {".codex/config.toml", ".codex/hooks.json"},
            "gemini": {".gemini/settings.json"},
            "opencode": {"opencode.json", ".opencode/plugins/raven.ts"},
            "cursor": {".cursor/mcp.json", ".cursor/hooks.json"},
        }[host]
    )
    assert not [path for path in files if os.fsencode(RAVEN) in new[path]]


@pytest.mark.parametrize("scope", ["user", "project"])
@pytest.mark.parametrize("host", HOSTS)
def test_what_is_installed_into_nothing_leaves_nothing_behind(machine: Machine, host: str, scope: str) -> None:
    machine.has(host)
    before = machine.snapshot()

    said = machine.install(host, "--scope", scope)
    assert f"{host}: ok, 7 tools" in said
    assert machine.snapshot() != before
    assert f"{host}: removed" in machine.install(host, "--scope", scope, "--uninstall")

    assert {path for path, (_, data) in machine.snapshot().items() if data != b"/"} == {
        path for path, (_, data) in before.items() if data != b"/"
    }


@pytest.mark.parametrize("scope", ["user", "project"])
@pytest.mark.parametrize("host", HOSTS)
def test_a_second_installation_changes_no_byte(machine: Machine, host: str, scope: str) -> None:
    machine.has(host)
    machine.install(host, "--scope", scope)
    before = machine.snapshot()

    said = machine.install(host, "--scope", scope)

    assert f"{host}: nothing to change" in said
    assert machine.snapshot() == before


@pytest.mark.parametrize("host", HOSTS)
def test_a_dry_run_prints_a_diff_and_changes_nothing(machine: Machine, host: str) -> None:
    machine.has(host)
    before = machine.snapshot()

    said = machine.shell.ok("install", host, "--dry-run")

    assert f"+++ {machine.home / USER_FILES[host]}\n" in said
    assert "+" in said
    assert machine.snapshot() == before


TEXTS = {
    "two blanks": '{\n  "theme": "dark",\n  "n": 1.50\n}\n',
    "four blanks": '{\n    "theme": "dark",\n    "list": [1,2,\n 3]\n}',
    "tabs": '{\n\t"theme": "dark"\n}\n',
    "carriage returns": '{\r\n  "theme": "dark"\r\n}\r\n',
    "one line": '{"theme":"dark","escape":"\\u00e9\\/"}',
    "an empty object": "{}",
    "an empty object with blanks": "{\n\n}\n\n",
    "empty hooks and servers": '{\n  "mcpServers": {}, "mcp": {},\n  "hooks": {}\n}\n',
    "nothing": "",
    "other letters": '{\n  "th\u00e8me": "\u2713 \U0001f426"\n}\n',
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("host", JSON_HOSTS)
def test_an_uninstall_restores_each_byte_of_a_file(machine: Machine, host: str, text: str) -> None:
    machine.has(host)
    for path in {USER_FILES[host], HOOK_FILES.get(host, USER_FILES[host])}:
        machine.write(path, text).chmod(0o640)
    before = machine.snapshot()

    machine.install(host)
    parsed = machine.read(USER_FILES[host])
    machine.install(host, "--uninstall")

    assert json.dumps(parsed).count("raven") >= 1
    assert machine.snapshot() == before


TOMLS = {
    "tables": 'model = "gpt-5"\n\n[mcp_servers.other]\ncommand = "other" # mine\n',
    "no last newline": 'model = "gpt-5"',
    "blank lines at the end": 'model = "gpt-5"\n\n\n',
    "a comment": "# mine\n",
    "nothing": "",
}


@pytest.mark.parametrize("text", TOMLS.values(), ids=TOMLS)
@pytest.mark.parametrize("has_program", [False, True])
def test_an_uninstall_restores_each_byte_of_a_toml_file(machine: Machine, text: str, has_program: bool) -> None:
    from tests.mcp.install.stand_ins import CODEX

    machine.has("codex")
    if has_program:
        machine.has_program("codex", CODEX)
    machine.write(".codex/config.toml", text)
    before = machine.snapshot()

    machine.install("codex")
    assert (machine.home / ".codex/config.toml").read_text().startswith(text)
    machine.install("codex", "--uninstall")

    assert machine.snapshot() == before


FOREIGN = {
    "claude-code": ('{"mcpServers": {"other": {"command": "raven-lord", "args": ["mcp"]}}, "x": [1]}', "mcpServers"),
    "gemini": ('{"mcpServers": {"other": {"command": "o"}}}', "mcpServers"),
    "opencode": ('{"mcp": {"other": {"type": "local", "command": ["o"]}}}', "mcp"),
    "cursor": ('{"mcpServers": {"other": {"command": "o"}}}', "mcpServers"),
}


@pytest.mark.parametrize("host", FOREIGN)
def test_the_server_of_another_program_stays_where_it_is(machine: Machine, host: str) -> None:
    text, key = FOREIGN[host]
    machine.has(host)
    machine.write(USER_FILES[host], text)

    machine.install(host)

    assert list(machine.read(USER_FILES[host])[key]) == ["other", "raven"]
    assert machine.read(USER_FILES[host])[key]["other"] == json.loads(text)[key]["other"]


MINE = {"type": "command", "command": "notify-send raven done"}


def with_hooks(host: str) -> str:
    event = {"claude-code": "Stop", "codex": "Stop", "gemini": "AfterAgent", "cursor": "stop"}[host]
    item = MINE if host == "cursor" else {"matcher": "x", "hooks": [MINE]}
    return json.dumps({"version": 1, "hooks": {event: [item], "Other": [item]}}, indent=4)


@pytest.mark.parametrize("host", HOOK_FILES)
def test_the_hooks_of_another_program_stay_before_ravens_and_after_it(machine: Machine, host: str) -> None:
    machine.has(host)
    text = with_hooks(host)
    file = machine.write(HOOK_FILES[host], text)
    mine = json.loads(text)["hooks"]

    machine.install(host)

    hooks = machine.read(HOOK_FILES[host])["hooks"]
    for event, items in mine.items():
        assert hooks[event][:1] == items
    machine.install(host, "--uninstall")
    assert file.read_text() == text


@pytest.mark.parametrize("host", HOOK_FILES)
def test_hooks_that_were_added_later_survive_the_uninstall(machine: Machine, host: str) -> None:
    machine.has(host)
    machine.install(host)
    config = machine.read(HOOK_FILES[host])
    event, items = next(
        (event, items) for event, items in config["hooks"].items() if event.lower() in ("stop", "afteragent")
    )
    mine = MINE if host == "cursor" else {"hooks": [MINE]}
    items.insert(0, mine)
    if host != "cursor":
        items[1]["hooks"].append(MINE)
    machine.write(HOOK_FILES[host], json.dumps(config))

    machine.install(host, "--uninstall")

    left = machine.read(HOOK_FILES[host])["hooks"]
    assert left == {event: [mine] if host == "cursor" else [mine, mine]}


def test_a_key_that_was_added_later_survives_the_uninstall(machine: Machine) -> None:
    machine.has("gemini")
    machine.write(".gemini/settings.json", '{\n  "theme": "dark"\n}\n')
    machine.install("gemini")
    text = (machine.home / ".gemini/settings.json").read_text()
    machine.write(".gemini/settings.json", text.replace('"theme": "dark"', '"theme": "light",\n  "vim": true'))

    machine.install("gemini", "--uninstall")

    assert (machine.home / ".gemini/settings.json").read_text() == '{\n  "theme": "light",\n  "vim": true\n}\n'


@pytest.mark.parametrize("host", HOSTS)
def test_an_installation_without_hooks_has_the_server_alone(machine: Machine, host: str) -> None:
    machine.has(host)
    machine.install(host)

    machine.install(host, "--no-hooks")

    [found] = [one for one in machine.shell.json("install", "-j")["hosts"] if one["host"] == host]
    assert [one["has_hooks"] for one in found["installed"]] == [False]
    assert found["installed"][0]["server"] == [RAVEN, "mcp"]


@pytest.mark.parametrize("host", HOSTS)
def test_a_bus_is_named_only_if_the_user_names_one(machine: Machine, host: str, tmp_path: Path) -> None:
    machine.has(host)

    machine.install(host, "--db", "other.db")

    [found] = [one for one in machine.shell.json("install", "-j")["hosts"] if one["host"] == host]
    assert found["installed"][0]["server"] == [RAVEN, "mcp", "--db", str(tmp_path / "other.db")]


def test_the_permission_to_use_the_tools_is_added_only_if_asked_for(machine: Machine) -> None:
    machine.has("claude-code")
    machine.write(".claude/settings.json", '{\n  "permissions": {\n    "allow": ["Bash(ls)"]\n  }\n}\n')
    before = machine.snapshot()

    machine.install("claude-code")
    assert machine.read(".claude/settings.json")["permissions"] == {"allow": ["Bash(ls)"]}
    machine.install("claude-code", "--allow")
    assert machine.read(".claude/settings.json")["permissions"] == {"allow": ["Bash(ls)", "mcp__raven"]}
    machine.install("claude-code", "--uninstall")

    assert machine.snapshot() == before
