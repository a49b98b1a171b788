"""The frame of the trial with real coding agents: the scripted models, the table, and the command."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from scripts.trials.agents.cases.mailbox import MailReader, noticed, steps
from scripts.trials.agents.catalogue import CASES
from scripts.trials.agents.model.anthropic import MESSAGES
from scripts.trials.agents.model.google import GENERATE
from scripts.trials.agents.model.openai import RESPONSES
from scripts.trials.agents.model.server import Api, ModelServer
from scripts.trials.agents.model.turn import Request, Say, Use
from scripts.trials.agents.namespace import UnavailableError, enter_command
from scripts.trials.agents.outcome import Outcome, Results

ROOT = Path(__file__).parents[2]
CLAUDE = {
    "model": "m",
    "stream": True,
    "tools": [{"name": "Bash"}, {"name": "mcp__plugin_raven_bus__inbox"}],
    "messages": [
        {"role": "user", "content": "old"},
        {"role": "assistant", "content": [{"type": "text", "text": "an answer"}]},
        {"role": "user", "content": [{"type": "tool_result", "content": [{"type": "text", "text": "a result"}]}]},
        {"role": "system", "content": "raven: #7 from boss:desk (question). Not from your user. Read with inbox."},
    ],
}
CODEX = {
    "model": "m",
    "stream": True,
    "tools": [
        {"type": "function", "name": "exec_command"},
        {"type": "namespace", "name": "mcp__raven", "tools": [{"type": "function", "name": "inbox"}]},
    ],
    "input": [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "old"}]},
        {"type": "function_call", "name": "exec_command", "call_id": "c", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "a result"},
        {
            "type": "message",
            "role": "developer",
            "content": [{"type": "input_text", "text": "raven: #7 from a:b. Not from your user."}],
        },
    ],
}
GEMINI = {
    "tools": [{"functionDeclarations": [{"name": "run_shell_command"}, {"name": "mcp_raven_inbox"}]}],
    "contents": [
        {"role": "user", "parts": [{"text": "old"}]},
        {"role": "model", "parts": [{"functionCall": {"name": "run_shell_command", "args": {}}}]},
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"name": "run_shell_command", "response": {"output": "a result"}}},
                {"text": "raven: #7 from a:b. Not from your user."},
            ],
        },
    ],
}
MAKERS = {"anthropic": (MESSAGES, CLAUDE), "openai": (RESPONSES, CODEX), "google": (GENERATE, GEMINI)}


def post(url: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the events of a streamed answer, or the one answer."""
    request = urllib.request.Request(url, json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=20) as response:
        text = response.read().decode()
        if response.headers["content-type"] != "text/event-stream":
            return [json.loads(text)]
    return [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")]


@pytest.mark.parametrize(("api", "body"), MAKERS.values(), ids=MAKERS)
def test_a_scripted_model_reads_the_news_and_the_tools_of_a_request(api: Api, body: dict[str, Any]) -> None:
    with ModelServer(api) as server:
        post(server.url + api.path, body)
        (request,) = server.requests

    assert "a result" in request.news
    assert "old" not in request.news
    assert noticed(request) == {7}
    assert request.find("inbox").endswith("inbox")
    assert request.find("done") == ""


@pytest.mark.parametrize("is_streamed", [True, False])
def test_a_call_of_a_tool_has_the_form_of_the_messages_api(is_streamed: bool) -> None:
    with ModelServer(MESSAGES) as server:
        server.model = MailReader()
        events = post(server.url + "/v1/messages", CLAUDE | {"stream": is_streamed})

    text = json.dumps(events)
    assert '"stop_reason": "tool_use"' in text
    assert '"name": "mcp__plugin_raven_bus__inbox"' in text


def test_a_call_of_a_tool_has_the_form_of_the_responses_api() -> None:
    with ModelServer(RESPONSES) as server:
        server.model = MailReader()
        events = post(server.url + "/v1/responses", CODEX)

    (item,) = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert (item["type"], item["namespace"], item["name"]) == ("function_call", "mcp__raven", "inbox")
    assert events[-1]["type"] == "response.completed"


def test_a_call_of_a_tool_has_the_form_of_the_gemini_api() -> None:
    with ModelServer(GENERATE) as server:
        server.model = MailReader()
        (event,) = post(f"{server.url}{GENERATE.path}?alt=sse", GEMINI)

    (part,) = event["candidates"][0]["content"]["parts"]
    assert part == {"functionCall": {"name": "mcp_raven_inbox", "args": {}}}


def test_a_request_without_tools_is_none_of_the_conversation() -> None:
    with ModelServer(MESSAGES) as server:
        post(server.url + "/v1/messages", {**CLAUDE, "tools": []})

        assert (len(server.requests), len(server.asides)) == (0, 1)


def test_an_unknown_path_is_refused_and_kept() -> None:
    with ModelServer(MESSAGES) as server:
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(server.url + "/api/telemetry", timeout=20)

        assert server.strays == ["GET /api/telemetry"]


def test_a_reader_of_mail_loads_a_deferred_tool_and_finishes_the_mail_that_it_read() -> None:
    reader = MailReader()
    mail = '{"messages":[{"id":7,"from":"boss:desk"},{"id":9,"from":"boss:desk"}]}'
    answers = [
        reader(Request(0, {}, frozenset({"ToolSearch", "mcp__raven__inbox"}), mail)),
        reader(Request(0, {}, frozenset({"mcp__raven__done"}), "Tool loaded.")),
        reader(Request(0, {}, frozenset(), '{"done":[7,9]}')),
    ]

    assert answers[0] == Use("ToolSearch", {"query": "select:mcp__raven__done", "max_results": 5})
    assert answers[1] == Use("mcp__raven__done", {"ids": [7, 9]})
    assert answers[2] == Say("I am idle now.")


def test_a_model_of_steps_ends_with_an_idle_text() -> None:
    model = steps(Use("a"), lambda request: Use("b"))
    request = Request(0, {}, frozenset(), "")

    assert [model(request), model(request), model(request)] == [Use("a"), Use("b"), Say("I am idle now.")]


def test_the_results_come_back_from_json_and_fill_the_table() -> None:
    outcome = Outcome("codex", "a promise", "NO", ["a fact"], ["not so: a|b"], 1.0)
    results = Results("machine", "2026-12-01", "1.0", {"codex": "Codex 1"}, {"codex-connects": outcome})

    assert Results.load(results.dump()) == results
    assert "| Codex 1 | a promise | NO | a fact; not so: a\\|b |" in results.markdown()
    assert results.table().startswith("NO       codex-connects")


@pytest.mark.parametrize("name", CASES)
def test_each_case_of_the_catalogue_has_its_function(name: str) -> None:
    assert callable(CASES[name].scenario)
    assert CASES[name].scenario.__doc__


def test_a_machine_without_the_means_for_a_namespace_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(UnavailableError, match="the commands unshare, ip are missing"):
        enter_command()


def test_the_command_names_its_cases_and_refuses_an_unknown_one() -> None:
    command = [sys.executable, "-m", "scripts.trials.agents"]
    shown = subprocess.run([*command, "--help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    refused = subprocess.run([*command, "nonsense"], cwd=ROOT, capture_output=True, text=True, check=False)

    assert all(name in shown for name in CASES)
    assert refused.returncode == 2
    assert "no case 'nonsense'" in refused.stderr
