"""TOML text: the table of raven's server goes in and out, and every other byte stays."""

from __future__ import annotations

import tomllib

import pytest

from raven_mcp.install.json_text import NotPlainError
from raven_mcp.install.toml_text import append, server_of, with_command, without

PATH = '/opt/a "b" \u00e9/raven'


@pytest.mark.parametrize("text", ["", "a = 1\n", "a = 1\n\n", '[t]\nx = "[mcp_servers.raven]"\n', "# only a comment\n"])
def test_a_table_is_appended_and_taken_out_without_a_trace(text: str) -> None:
    changed = append(text, PATH, ["mcp", "--db", "x y"])

    assert server_of(changed) == {"command": PATH, "args": ["mcp", "--db", "x y"]}
    assert without(changed) == text


def test_tables_around_it_stay_with_their_comments() -> None:
    text = "a = 1\n\n# before\n[before]\nb = 2 # b\n"
    after = "\n# of the next\n[[after]]\nc = 3\n"
    changed = append(text, PATH, ["mcp"]) + after

    assert without(changed) == text + after


def test_a_table_without_marks_goes_with_the_tables_below_it() -> None:
    text = '[x]\n\n[mcp_servers.raven]\ncommand = "raven"\n\n[mcp_servers."raven".env]\nA = "b"\n\n# next\n[y]\n'

    assert without(text) == "[x]\n\n# next\n[y]\n"


def test_a_command_is_replaced_and_the_rest_of_the_table_stays() -> None:
    text = (
        'm = 1\n[mcp_servers.raven]\n  command = "/old/raven" # mine\n  args=["mcp"]\n  startup_timeout_sec = 5\n'
        '[z]\ncommand = "z"\n'
    )

    changed = with_command(text, PATH, ["mcp", "--db", "b"])

    assert tomllib.loads(changed)["mcp_servers"]["raven"] == {
        "command": PATH,
        "args": ["mcp", "--db", "b"],
        "startup_timeout_sec": 5,
    }
    assert changed.startswith("m = 1\n[mcp_servers.raven]\n  command = ")
    assert changed.endswith('\n  startup_timeout_sec = 5\n[z]\ncommand = "z"\n')


@pytest.mark.parametrize(
    "text",
    [
        'mcp_servers = { raven = { command = "raven", args = ["mcp"] } }\n',
        'mcp_servers.raven.command = "raven"\nmcp_servers.raven.args = ["mcp"]\n',
        '[mcp_servers.raven]\ncommand = """\n[mcp_servers.raven]\nraven"""\nargs = ["mcp"]\n',
        '[mcp_servers.raven.env]\nA = "b"\n[x]\n[mcp_servers.raven]\ncommand = "raven"\n',
        '[mcp_servers.raven]\ncommand = "raven"\nargs = [\n  "mcp",\n]\n',
    ],
)
def test_a_table_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(NotPlainError):
        with_command(text, PATH, ["mcp", "--new"])


def test_an_inline_table_gets_no_second_one() -> None:
    with pytest.raises(NotPlainError, match="is not TOML"):
        append('mcp_servers = { other = { command = "o" } }\n', PATH, ["mcp"])
