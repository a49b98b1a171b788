"""`raven doctor` on installations: whether each works, and how to repair it."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.mcp.install.stand_ins import HOSTS, RAVEN, Machine


def checks(machine: Machine, **environment: str) -> dict[str, dict[str, Any]]:
    done = machine.shell.run("doctor", "-j", **environment)
    return {check["name"]: check for check in json.loads(done.stdout)["checks"] if check["name"].split()[0] in HOSTS}


def test_a_machine_without_installations_has_no_checks_of_hosts(machine: Machine) -> None:
    machine.has("gemini")

    assert checks(machine) == {}


def test_an_installation_that_works_is_ok(machine: Machine) -> None:
    machine.has_program("gemini")
    machine.install("gemini")
    machine.install("gemini", "--scope", "project")

    found = checks(machine)

    assert found["gemini"]["verdict"] == "ok"
    assert re.fullmatch(f"{machine.home}/.gemini/settings.json: [0-9]+ tools?, hooks", found["gemini"]["found"])
    assert found["gemini (project)"]["verdict"] == "ok"


def test_a_server_that_is_gone_fails_with_the_command_that_repairs_it(machine: Machine) -> None:
    machine.has_program("gemini")
    machine.install("gemini")
    path = machine.home / ".gemini/settings.json"
    path.write_text(path.read_text().replace(RAVEN, "/gone/bin/raven"))

    check = checks(machine)["gemini"]

    assert check["verdict"] == "fail"
    assert "`/gone/bin/raven mcp` cannot start" in check["found"]
    assert "`raven install gemini`" in check["remedy"]


def test_entries_of_another_version_are_a_warning(machine: Machine) -> None:
    machine.has_program("gemini")
    machine.install("gemini")
    settings = machine.read(".gemini/settings.json")
    del settings["hooks"]["AfterTool"]
    machine.write(".gemini/settings.json", json.dumps(settings))

    check = checks(machine)["gemini"]

    assert (check["verdict"], check["remedy"]) == ("warn", "`raven install gemini`")
    assert "of another version of raven" in check["found"]


def test_a_host_that_is_gone_is_a_warning(machine: Machine) -> None:
    machine.has("gemini")
    machine.install("gemini")

    check = checks(machine)["gemini"]

    assert check["verdict"] == "warn"
    assert "gemini is not on PATH" in check["found"]


def test_a_broken_file_is_a_warning(machine: Machine) -> None:
    machine.has_program("gemini")
    machine.write(".gemini/settings.json", '{"raven": ')

    assert "is not JSON" in checks(machine)["gemini"]["found"]


def test_a_file_that_cannot_be_read_is_a_warning(machine: Machine) -> None:
    path = machine.home / ".gemini/settings.json"
    machine.has("gemini")
    path.symlink_to(path)

    check = checks(machine)["gemini"]

    assert (check["verdict"], check["remedy"]) == ("warn", "let this user read it")


def test_a_plugin_that_raven_install_did_not_install_is_a_warning(machine: Machine) -> None:
    machine.has_program("claude")
    machine.write(".claude/settings.json", '{"enabledPlugins": {"raven@raven-bus": true}}')

    assert "was not installed by `raven install`" in checks(machine)["claude-code"]["found"]


def test_hooks_without_a_server_are_a_warning(machine: Machine) -> None:
    machine.has_program("cursor")
    machine.install("cursor")
    (machine.home / ".cursor/mcp.json").unlink()

    assert "has hooks of raven, but" in checks(machine)["cursor"]["found"]


APP_SERVER = """
if sys.argv[1:] == ["app-server"]:
    hooks = json.loads((home / ".codex/hooks.json").read_text())["hooks"]
    items = [{**item["hooks"][0], "eventName": event} for event, [item] in hooks.items()]
    types = {"mcp_tool": "mcpTool", "command": "command"}
    shown = [{**item, "handlerType": types[item["type"]], "trustStatus": TRUST} for item in items]
    for line in sys.stdin:
        request = json.loads(line)
        if request.get("method") == "hooks/list":
            print(json.dumps({"id": request["id"], "result": {"data": [{"cwd": "/", "hooks": shown}]}}), flush=True)
"""


def test_codex_is_asked_whether_the_hooks_are_trusted(machine: Machine) -> None:
    machine.has("codex")
    machine.install("codex")

    machine.has_program("codex", APP_SERVER.replace("TRUST", "'untrusted'"))
    check = checks(machine)["codex"]
    assert check["verdict"] == "warn"
    assert "codex does not run the hooks" in check["found"]
    assert "/hooks" in check["remedy"]

    machine.has_program("codex", APP_SERVER.replace("TRUST", "'trusted'"))
    assert checks(machine)["codex"]["verdict"] == "ok"

    machine.has_program("codex", "print('usage')")
    assert checks(machine)["codex"]["verdict"] == "ok"


def test_a_session_of_claude_code_without_a_socket_is_told(machine: Machine) -> None:
    machine.has("claude-code")
    machine.install("claude-code")
    machine.has_program("claude")

    assert "no inbox socket" not in checks(machine)["claude-code"]["found"]
    found = checks(machine, CLAUDE_CODE_SESSION_ID="x")["claude-code"]["found"]
    assert "this session has no inbox socket" in found
    there = checks(machine, CLAUDE_CODE_SESSION_ID="x", CLAUDE_CODE_MESSAGING_SOCKET=str(machine.home))
    assert "no inbox socket" not in there["claude-code"]["found"]
