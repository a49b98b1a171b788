"""The example in Node: a worker is killed in mid-job, and every job is answered once and rightly."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docs.examples import NODE, ROOT, Ended, blocks, run_to_its_end, shapes
from tests.rpc_server import Served
from tests.support import needs

CLIENT = ROOT / "examples" / "06-json-rpc-node" / "raven.mjs"
DEADLINE_S = 120


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    needs("node")
    return run_to_its_end(NODE, tmp_path_factory.mktemp("node"))


def in_node(program: str, folder: Path) -> list[str]:
    """Run a program that has the client of the example, and return the lines that it prints."""
    needs("node")
    source = f'import {{ Raven }} from "{CLIENT.as_uri()}";\n{program}'
    done = subprocess.run(
        ["node", "--input-type=module", "-e", source],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout.splitlines()


def test_the_node_example_prints_what_its_readme_shows(ended: Ended) -> None:
    *printed, last = ended.output.splitlines()

    (sample,) = blocks("06-json-rpc-node", "text")
    assert shapes("\n".join(printed)) == shapes(sample)
    assert printed[-1] == "6 jobs, 0 lost, 6 answered once and rightly"
    assert last == f"bus: {ended.db_path}"


def test_each_job_is_answered_once_though_a_worker_in_node_was_killed(ended: Ended) -> None:
    jobs = ended.of_type("job")

    answers = {msg.reply_to: msg.body["digest"] for msg in ended.of_type("answer")}

    assert len(jobs) == len(ended.of_type("answer")) == 6
    assert answers == {job.id: hashlib.sha256(job.body["text"].encode()).hexdigest() for job in jobs}


def test_what_the_killed_worker_held_is_done_by_the_next_at_its_second_attempt(ended: Ended) -> None:
    third, fourth = (job.id for job in ended.of_type("job")[2:4])
    before, after = ended.output.split("killed with -9")

    assert f"worker-1 works on #{third}\n" in before
    assert f"worker-1 holds #{fourth}, attempt 1\n" in before
    assert f"worker-2 holds #{third}, attempt 2\n" in after
    assert f"worker-2 holds #{fourth}, attempt 2\n" in after
    assert [msg.body["by"] for msg in ended.of_type("answer")] == ["worker-1"] * 2 + ["worker-2"] * 4


def test_the_client_in_node_tells_an_error_of_the_server_with_its_kind(
    serve: Callable[..., Served], tmp_path: Path
) -> None:
    socket = serve().path
    program = f"""
const raven = await Raven.connect({json.dumps(socket)});
const error = await raven.call("read", {{ id: 999 }}).catch((error) => error);
console.log(error.kind, error.code, error.retryable);
raven.on("close", () => console.log("closed"));
raven.end();
"""
    assert in_node(program, tmp_path) == ["message_not_found -32001 false", "closed"]


@pytest.mark.process
def test_a_call_of_the_client_in_node_fails_when_the_server_dies(serve: Callable[..., Served], tmp_path: Path) -> None:
    served = serve()
    program = f"""
const raven = await Raven.connect({json.dumps(served.path)});
raven.on("close", async () => {{
  const error = await raven.call("ping").catch((error) => error);
  console.log(error.message);
}});
process.kill({served.pid}, "SIGKILL");
"""
    assert in_node(program, tmp_path) == ["the connection to the server is closed"]


def test_a_long_text_beyond_ascii_comes_back_whole_to_the_client_in_node(
    serve: Callable[..., Served], tmp_path: Path
) -> None:
    program = f"""
const raven = await Raven.connect({json.dumps(serve().path)});
const body = "naïve ☕ 𝄞 ".repeat(50000);
await raven.call("send", {{ from: "a:s", to: "b:s", type: "note", body }});
raven.on("message", ({{ message }}) => {{
  console.log(message.body === body);
  raven.end();
}});
await raven.call("subscribe", {{ role: "b:s" }});
"""
    assert in_node(program, tmp_path) == ["true"]
