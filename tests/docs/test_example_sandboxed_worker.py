"""The sandboxed worker: it works through its bound socket, and every attempt at more is refused."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.docs.examples import SANDBOXED_WORKER, Ended, blocks, messages_on, run, run_to_its_end, shapes

UNAVAILABLE = 3
KINDS = ["bubblewrap", "unshare", "other-user", "same-user"]
# The kernel's error for a file that the sandbox does not see.
REFUSALS = {"bubblewrap": "No such file or directory", "unshare": "No such file or directory"}


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    return run_to_its_end(SANDBOXED_WORKER, tmp_path_factory.mktemp("sandboxed"))


def attempts(output: str) -> list[str]:
    return re.findall(r"^it tried to .*$", output, flags=re.MULTILINE)


def without_the_kind(output: str) -> set[str]:
    """Return the lines that are the same for all kinds of isolation, without the words of the refusals."""
    differs = r"isolation: |bus: |it (tried|did not try) to open|\d+ attempts"
    lines = [re.sub(r"(refused: [^:]+).*", r"\1", line) for line in output.splitlines() if not re.match(differs, line)]
    return shapes("\n".join(lines))


def test_the_sandboxed_worker_prints_what_its_readme_shows(ended: Ended) -> None:
    (sample,) = blocks("07-sandboxed-worker", "text")

    assert without_the_kind(ended.output) == without_the_kind(sample)
    assert ended.output.splitlines()[-1] == f"bus: {ended.db_path}"


def test_the_sandboxed_worker_does_its_job(ended: Ended) -> None:
    (job,) = ended.of_type("count-words")

    answers = {msg.reply_to: msg for msg in ended.of_type("answer")}

    assert answers[job.id].body == {"words": len(job.body["text"].split())}
    assert {msg.sender for msg in ended.of_type("answer")} == {"worker:sandbox"}


def test_what_the_server_forbids_is_refused_by_its_kind_line_by_line(ended: Ended) -> None:
    refused = {line.split(" refused: ")[0].rstrip(): line.split(" refused: ")[1] for line in attempts(ended.output)}
    (secret,) = ended.of_type("secret")

    for what in [
        "send as conductor:sandbox",
        "be auditor:sandbox with hello",
        "read the inbox of auditor:sandbox",
        "subscribe as auditor:sandbox",
        f"ack #{secret.id} as auditor:sandbox",
        "register auditor:sandbox",
        "tail the mail of auditor:sandbox",
    ]:
        assert refused[f"it tried to {what}"].startswith("forbidden: ")
    for what in [f"read message #{secret.id}", f"ask for whom #{secret.id} is", f"ack #{secret.id}"]:
        assert refused[f"it tried to {what}"].startswith("message_not_found: ")
    for what in ["find it in the history", "find it in the log"]:
        assert refused[f"it tried to {what}"].startswith("not shown: ")


def test_nothing_was_sent_in_the_name_of_another(ended: Ended) -> None:
    assert [(msg.sender, msg.type) for msg in ended.messages if msg.sender != "worker:sandbox"] == [
        ("conductor:sandbox", type_) for type_ in ("secret", "count-words", "break-out", "no-more")
    ]
    assert "pay the worker" not in {msg.body for msg in ended.messages if isinstance(msg.body, str)}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_isolation_that_works_here_refuses_all_and_says_what_it_is(tmp_path: Path, kind: str) -> None:
    done = run(f"{SANDBOXED_WORKER} --isolation {kind}", tmp_path)
    _skip_where_it_does_not_work(done, kind)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"isolation: {kind}: ")
    tried = attempts(done.stdout)
    assert all(" refused: " in line for line in tried)
    assert f"{len(tried)} attempts, {len(tried)} refused\n" in done.stdout
    opened = [line for line in tried if "open the bus file" in line]
    if kind == "same-user":
        assert "isolation: same-user: NONE: " in done.stdout
        assert not opened
    else:
        assert opened[0].endswith(f"refused: {REFUSALS.get(kind, 'Permission denied')}")
    (bus,) = tmp_path.glob("raven-sandboxed-worker-*/bus.db")
    assert messages_on(bus)


def _skip_where_it_does_not_work(done: subprocess.CompletedProcess[str], kind: str) -> None:
    # Kernels, containers and users allow different things; the last kind works everywhere.
    assert kind != "same-user" or done.returncode == 0, done
    if done.returncode == UNAVAILABLE:
        assert "does not work on this machine" in done.stderr
        pytest.skip(f"{kind} does not work here")
    if done.returncode == 2 and "invalid choice" in done.stderr:
        pytest.skip(f"{kind} is for root only")
