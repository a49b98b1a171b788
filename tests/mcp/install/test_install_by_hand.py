"""`raven install` beside a user who edits the same files: nothing of theirs is lost, and no broken file is touched."""

from __future__ import annotations

import json
import os

import pytest

from tests.mcp.install.stand_ins import HOSTS, RAVEN, Machine
from tests.mcp.install.test_install_files import HOOK_FILES, JSON_HOSTS, USER_FILES

KEYS = {"claude-code": "mcpServers", "gemini": "mcpServers", "opencode": "mcp", "cursor": "mcpServers"}
BROKEN = {
    "comments": ('{\n  // mine\n  "theme": "dark"\n}\n', "has comments"),
    "a block comment": ('{"theme": "dark" /* mine */}', "has comments"),
    "a comma too many": ('{"theme": "http://x",}', "is not JSON"),
    "half a file": ('{"theme": ', "is not JSON"),
    "a list": ("[1]", "holds no JSON object"),
    "two of one name": ('{"a": 1, "a": 2}', "two members of the name a"),
    "other bytes": (b'{"theme": "\xff"}', "is not in UTF-8"),
    "deep": ("[" * 100_000, "is not JSON"),
    "hooks of another kind": ('{"mcpServers": 3, "mcp": 3}', "has no object in the place of mcp"),
}


@pytest.mark.parametrize(("text", "reason"), BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("host", JSON_HOSTS)
def test_a_file_that_is_no_plain_json_is_left_alone(
    machine: Machine, host: str, text: str | bytes, reason: str
) -> None:
    machine.has(host)
    machine.write(USER_FILES[host], text)
    before = machine.snapshot()

    done = machine.refused(2, host)

    assert reason in done.stderr
    assert str(machine.home / USER_FILES[host]) in done.stderr
    assert json.loads(done.stdout)[KEYS[host]]["raven"]
    assert machine.snapshot() == before


@pytest.mark.parametrize(
    "text",
    [
        "model = ",
        '[mcp_servers.raven]\ncommand = "raven"\nargs = "mcp"\n[mcp_servers.raven]\n',
        b"\xff",
        "mcp_servers = {a = {}}",
    ],
    ids=["broken", "twice", "bytes", "inline"],
)
def test_a_toml_file_of_another_form_is_left_alone(machine: Machine, text: str | bytes) -> None:
    machine.has("codex")
    machine.write(".codex/config.toml", text)
    before = machine.snapshot()

    done = machine.refused(2, "codex")

    assert str(machine.home / ".codex/config.toml") in done.stderr
    assert "[mcp_servers.raven]\n" in done.stdout
    assert machine.snapshot() == before


@pytest.mark.parametrize("host", HOOK_FILES)
def test_a_broken_file_of_hooks_keeps_the_server_out_too(machine: Machine, host: str) -> None:
    machine.has(host)
    machine.write(HOOK_FILES[host], '{"hooks": ')
    before = machine.snapshot()

    machine.refused(2, host)

    assert machine.snapshot() == before


@pytest.mark.parametrize("hooks", ["3", '{"Stop": 3, "AfterAgent": 3, "stop": 3}'])
@pytest.mark.parametrize("host", HOOK_FILES)
def test_hooks_that_are_no_list_are_left_alone(machine: Machine, host: str, hooks: str) -> None:
    machine.has(host)
    machine.write(HOOK_FILES[host], f'{{"hooks": {hooks}}}')
    before = machine.snapshot()

    machine.refused(2, host)

    assert machine.snapshot() == before


def test_one_broken_host_does_not_keep_another_out(machine: Machine) -> None:
    machine.has("gemini")
    machine.has("cursor")
    machine.write(".gemini/settings.json", "{")

    done = machine.refused(2, "gemini", "cursor")

    assert "cursor: ok, 7 tools" in done.stdout
    assert machine.read(".cursor/mcp.json")["mcpServers"]["raven"]


def test_a_broken_file_with_entries_of_raven_is_named_at_the_uninstall(machine: Machine) -> None:
    machine.has("gemini")
    machine.install("gemini")
    text = (machine.home / ".gemini/settings.json").read_text()
    machine.write(".gemini/settings.json", f"// mine\n{text}")

    done = machine.refused(2, "gemini", "--uninstall")

    assert "remove the entries of raven by hand" in done.stderr
    assert (machine.home / ".gemini/settings.json").read_text() == f"// mine\n{text}"


def test_a_broken_file_without_entries_of_raven_is_no_matter_for_the_uninstall(machine: Machine) -> None:
    machine.has("gemini")
    machine.write(".gemini/settings.json", "// mine\n{}")

    assert "gemini: nothing to remove" in machine.install("gemini", "--uninstall")


@pytest.mark.parametrize("host", ["claude-code", "gemini", "cursor"])
def test_what_the_user_added_to_ravens_entry_stays(machine: Machine, host: str) -> None:
    machine.has(host)
    mine = {
        "env": {"RAVEN_ROLE": "architect"},
        "command": "/old/bin/raven",
        "args": ["mcp", "--as", "a:b"],
        "trust": True,
    }
    machine.write(USER_FILES[host], json.dumps({KEYS[host]: {"raven": mine}}))

    machine.install(host)

    assert machine.read(USER_FILES[host])[KEYS[host]]["raven"] == {**mine, "command": RAVEN}


def test_what_the_user_added_to_ravens_table_stays(machine: Machine) -> None:
    machine.has("codex")
    text = (
        '[mcp_servers.raven]\ncommand = "/old/bin/raven" # mine\nargs = ["mcp", "--as", "a:b"]\n'
        '[mcp_servers.raven.env]\nRAVEN_ROLE = "architect"\n\n[other]\nx = 1\n'
    )
    machine.write(".codex/config.toml", text)

    machine.install("codex")

    new = text.replace('"/old/bin/raven" # mine', f'"{RAVEN}"')
    assert (machine.home / ".codex/config.toml").read_text() == new
    machine.install("codex", "--uninstall")
    assert (machine.home / ".codex/config.toml").read_text() == "[other]\nx = 1\n"


def test_what_the_user_added_to_opencodes_entry_stays(machine: Machine) -> None:
    machine.has("opencode")
    mine = {"type": "local", "command": ["/old/raven", "mcp", "--as", "a:b"], "enabled": False}
    machine.write(USER_FILES["opencode"], json.dumps({"mcp": {"raven": mine}}))

    machine.install("opencode")

    command = [RAVEN, "mcp", "--as", "a:b"]
    assert machine.read(USER_FILES["opencode"])["mcp"]["raven"] == {**mine, "command": command}


@pytest.mark.parametrize("host", JSON_HOSTS)
def test_an_entry_that_starts_raven_through_another_program_is_the_users_own(machine: Machine, host: str) -> None:
    machine.has(host)
    env = "/usr/bin/env"
    mine = {"command": [env, RAVEN, "mcp"]} if host == "opencode" else {"command": env, "args": [RAVEN, "mcp"]}
    machine.write(USER_FILES[host], json.dumps({KEYS[host]: {"raven": mine}}))

    assert f"{host}: ok, 7 tools" in machine.install(host)

    assert machine.read(USER_FILES[host])[KEYS[host]]["raven"] == mine


@pytest.mark.parametrize("host", JSON_HOSTS)
def test_the_name_of_another_programs_server_is_not_taken(machine: Machine, host: str) -> None:
    machine.has(host)
    other = {"command": ["raven-lord"]} if host == "opencode" else {"command": "raven-lord", "args": ["mcp"]}
    machine.write(USER_FILES[host], json.dumps({KEYS[host]: {"raven": other}}))
    before = machine.snapshot()

    assert "is another program's" in machine.refused(2, host).stderr
    assert "nothing to remove" in machine.install(host, "--uninstall")

    assert machine.snapshot() == before


def test_the_name_of_another_programs_table_is_not_taken(machine: Machine) -> None:
    machine.has("codex")
    machine.write(".codex/config.toml", '[mcp_servers.raven]\ncommand = "raven-lord"\n')

    assert "is another program's" in machine.refused(2, "codex").stderr


def test_a_plugin_of_another_program_is_not_replaced(machine: Machine) -> None:
    machine.has("opencode")
    machine.write(".config/opencode/plugins/raven.ts", "export const Mine = 1\n")
    before = machine.snapshot()

    assert "is not raven's" in machine.refused(2, "opencode").stderr
    assert machine.snapshot() == before


def test_opencodes_configuration_may_have_the_ending_of_a_text_with_comments(machine: Machine) -> None:
    machine.has("opencode")
    path = machine.write(".config/opencode/opencode.jsonc", '{\n  "theme": "dark"\n}\n')

    machine.install("opencode")

    assert "raven" in path.read_text()
    assert not (machine.home / USER_FILES["opencode"]).exists()


@pytest.mark.parametrize("host", HOSTS)
def test_a_symlinked_file_stays_a_link_and_its_target_gets_the_entries(machine: Machine, host: str) -> None:
    machine.has(host)
    text = "" if host == "codex" else '{\n  "x": 1\n}\n'
    target = machine.write("dotfiles/config", text)
    link = machine.home / USER_FILES[host]
    os.symlink(target, link)
    before = machine.snapshot()

    machine.install(host)
    assert link.is_symlink()
    assert b"raven" in target.read_bytes()
    machine.install(host, "--uninstall")

    assert machine.snapshot() == before


def test_a_link_that_leads_nowhere_gets_its_target(machine: Machine) -> None:
    machine.has("gemini")
    (machine.home / "dotfiles").mkdir()
    os.symlink(machine.home / "dotfiles/config", machine.home / ".gemini/settings.json")
    before = machine.snapshot()

    machine.install("gemini")
    assert (machine.home / "dotfiles/config").exists()
    machine.install("gemini", "--uninstall")

    assert machine.snapshot() == before


def test_a_link_in_a_circle_and_a_folder_are_named(machine: Machine) -> None:
    machine.has("gemini")
    machine.has("cursor")
    (machine.home / ".gemini/settings.json").symlink_to(machine.home / ".gemini/settings.json")
    (machine.home / ".cursor/mcp.json").mkdir()

    done = machine.refused(2, "cursor", "gemini")

    assert f"gemini: {machine.home}/.gemini/settings.json: Too many levels of symbolic links" in done.stderr
    assert f"cursor: {machine.home}/.cursor/mcp.json is no file" in done.stderr


def test_a_damaged_copy_is_not_restored(machine: Machine) -> None:
    machine.has("gemini")
    machine.write(".gemini/settings.json", '{\n  "theme": "dark"\n}\n')
    machine.install("gemini")
    machine.write(".gemini/settings.json.raven-backup", "{")

    machine.install("gemini", "--uninstall")

    assert machine.read(".gemini/settings.json") == {"theme": "dark"}
    assert not (machine.home / ".gemini/settings.json.raven-backup").exists()


def test_a_copy_goes_also_if_the_user_has_taken_the_entries_out(machine: Machine) -> None:
    machine.has("gemini")
    machine.write(".gemini/settings.json", '{\n  "theme": "dark"\n}\n')
    machine.install("gemini")
    machine.write(".gemini/settings.json", '{"theme": "light"}')

    assert "remove " in machine.install("gemini", "--uninstall")

    assert (machine.home / ".gemini/settings.json").read_text() == '{"theme": "light"}'
    assert not (machine.home / ".gemini/settings.json.raven-backup").exists()


def test_hooks_that_the_user_has_doubled_become_one(machine: Machine) -> None:
    machine.has("gemini")
    machine.install("gemini")
    before = (machine.home / ".gemini/settings.json").read_text()
    settings = json.loads(before)
    settings["hooks"]["AfterTool"] *= 3
    machine.write(".gemini/settings.json", json.dumps(settings))

    machine.install("gemini")

    assert machine.read(".gemini/settings.json") == json.loads(before)
