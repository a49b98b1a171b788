"""The example in bash: with socat and with netcat, every script is checked, and nothing is left running."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.docs.examples import ROOT, SHELL_NC, SHELL_SOCAT, Ended, blocks, run_to_its_end, shapes
from tests.support import needs

FOLDER = ROOT / "examples" / "05-json-rpc-shell"


@pytest.fixture(scope="module", params=[(SHELL_SOCAT, "socat"), (SHELL_NC, "nc")], ids=["socat", "nc"])
def ended(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Ended]:
    command, tool = request.param
    needs("jq", tool)
    return tool, run_to_its_end(command, tmp_path_factory.mktemp(f"shell-{tool}"))


def test_the_shell_example_prints_what_its_readme_shows(ended: tuple[str, Ended]) -> None:
    tool, example = ended

    *printed, last = example.output.splitlines()

    (sample,) = blocks("05-json-rpc-shell", "text")
    assert shapes("\n".join(printed)) == shapes(sample.replace("socat", tool))
    assert last == f"bus: {example.db_path}"


def test_the_agent_in_bash_answers_each_script_once_and_rightly(ended: tuple[str, Ended]) -> None:
    _, example = ended
    jobs = {msg.id: msg.body["name"] for msg in example.of_type("check")}

    verdicts = [(jobs[msg.reply_to or 0], msg.body["verdict"]) for msg in example.of_type("verdict")]

    assert verdicts == [("hello.sh", "good"), ("broken.sh", "bad"), ("loop.sh", "good")]
    assert {msg.sender for msg in example.of_type("verdict")} == {"agent:ci"}
    assert [msg.body for msg in example.of_type("report")] == [{"checked": 3, "bad": 1}]


def test_the_shell_example_stops_its_server(ended: tuple[str, Ended]) -> None:
    _, example = ended

    assert not Path(f"{example.db_path}.sock").exists()


def test_a_function_of_the_shell_fails_and_says_why_where_the_server_refuses(tmp_path: Path) -> None:
    needs("jq", "socat")
    # A server that refuses every request.
    refusal = '{"jsonrpc":"2.0","error":{"code":-32021,"message":"no","data":{"kind":"forbidden"}},"id":"1"}'
    program = f". {FOLDER}/raven.sh; wire() {{ cat >/dev/null; echo '{refusal}'; }}; call ping '{{}}'"

    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (1, "", "error: forbidden: no\n")


@pytest.mark.parametrize("script", ["raven.sh", "agent.sh", "run.sh"])
def test_the_shell_example_neither_sleeps_nor_polls(script: str) -> None:
    text = (FOLDER / script).read_text(encoding="utf-8")

    assert not re.search(r"\bsleep\b", text)
    assert script == "raven.sh" or "set -euo pipefail" in text
