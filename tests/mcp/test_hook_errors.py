"""`raven hook` never disturbs its host: an error is `{}`, one line on stderr and exit code 0, within two seconds."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scripts.harness.deadline import Limit, wait_until
from tests.mcp.harness import environment
from tests.mcp.hooked import RAVEN, SESSION, Hooked
from tests.support import DEADLINE_S, Foreign, Program


@pytest.fixture
def hooked(tmp_path: Path) -> Iterator[Hooked]:
    hooked = Hooked(tmp_path)
    hooked.send()
    yield hooked
    hooked.close()


def test_no_bus_is_an_error_in_one_line(tmp_path: Path) -> None:
    hooked = Hooked(tmp_path)
    hooked.close()
    Path(hooked.db).unlink()

    assert "there is no bus at" in hooked.hook("Stop").complaint


def test_a_bus_that_is_locked_is_an_error_within_two_seconds(hooked: Hooked, spawn: Callable[..., Program]) -> None:
    hooked.close()
    other = Foreign(spawn("external_writer", hooked.db))
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("DELETE FROM messages WHERE 0")
    other.execute("BEGIN EXCLUSIVE")

    began = time.monotonic()
    complaint = hooked.hook("Stop").complaint

    assert "is locked" in complaint
    assert time.monotonic() - began < Limit(2.0)


def test_a_writer_at_work_delays_no_hook(hooked: Hooked, spawn: Callable[..., Program]) -> None:
    holder = spawn("lock_holder", hooked.db)
    assert holder.read() == 1

    assert hooked.hook("UserPromptSubmit").context is not None


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (Path.mkdir, "is a folder"),
        (os.mkfifo, "is a FIFO"),
        (lambda path: path.write_bytes(b"not a database, but long enough to be read as one" * 40), "is not an SQLite"),
    ],
)
def test_a_path_that_is_no_bus_is_an_error(tmp_path: Path, make: Callable[[Path], object], expected: str) -> None:
    hooked = Hooked(tmp_path)
    hooked.close()
    path = tmp_path / "other.db"
    make(path)
    hooked.db = str(path)

    assert expected in hooked.hook("Stop").complaint


def test_a_bus_that_other_users_can_write_is_an_error(hooked: Hooked) -> None:
    Path(hooked.db).chmod(0o666)

    assert "can be written by other users" in hooked.hook("Stop").complaint


def test_a_bus_that_no_agent_has_used_has_no_news(tmp_path: Path) -> None:
    hooked = Hooked(tmp_path, is_bound=False)
    hooked.send()
    assert hooked.hook("SessionStart").answer == {}
    hooked.close()

    (tmp_path / "empty.db").touch(0o600)
    hooked.db = str(tmp_path / "empty.db")
    assert hooked.hook("SessionStart").answer == {}


def test_a_bus_of_an_older_schema_has_no_news(hooked: Hooked, spawn: Callable[..., Program]) -> None:
    hooked.close()
    other = Foreign(spawn("external_writer", hooked.db))
    other.execute("DROP TABLE raven_mutes")
    other.execute("DROP TABLE raven_agents")

    assert hooked.hook("SessionStart").answer == {}


def test_a_session_that_has_no_server_has_no_news(hooked: Hooked) -> None:
    hooked.session = "another"

    assert hooked.hook("SessionStart").answer == {}


@pytest.mark.parametrize(
    ("stdin", "expected"),
    [
        (b"{", "is no JSON: b'{'"),
        (b"\xff\xfe", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b"[1]", "is [1], but must be a JSON object"),
        (b'"text"', "must be a JSON object"),
        (json.dumps({"session_id": "../../etc/passwd"}).encode(), "'../../etc/passwd' must be 1 to 128 letters"),
        (json.dumps({"session_id": "s" * 129}).encode(), "must be 1 to 128 letters"),
    ],
    ids=["broken", "binary", "deep", "list", "text", "path", "long"],
)
def test_an_input_that_no_host_writes_is_an_error(hooked: Hooked, stdin: bytes, expected: str) -> None:
    assert expected in hooked.run(["stop", "--host", "claude-code", "--db", hooked.db], stdin).complaint


@pytest.mark.parametrize("session", [None, 7, {}, [], True])
def test_an_input_without_a_session_has_no_news(hooked: Hooked, session: object) -> None:
    ended = hooked.run(
        ["stop", "--host", "claude-code", "--db", hooked.db], json.dumps({"session_id": session}).encode()
    )

    assert ended.answer == {}


def test_fields_of_other_types_do_not_count(hooked: Hooked) -> None:
    ended = hooked.hook(
        "Stop", cwd=7, agent_id=["a"], stop_hook_active="yes", loop_count="9", workspace_roots={}, status=1
    )

    assert ended.context is not None


def test_an_input_of_a_mebibyte_is_read_and_a_longer_one_is_an_error(hooked: Hooked) -> None:
    shorter = hooked.hook("UserPromptSubmit", prompt="x" * (900 << 10))
    assert shorter.context is not None

    longer = hooked.hook("UserPromptSubmit", prompt="x" * (8 << 20))
    assert "but a hook reads at most 1,048,576" in longer.complaint


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["Frobnicate", "--host", "codex"], "the event 'Frobnicate' is not known: use session-start, prompt,"),
        (["stop", "--host", "emacs"], "the host 'emacs' is not known: use claude-code, codex, gemini, opencode,"),
        (["stop"], "the host '' is not known"),
        (["--host", "codex"], "0 events are given, but one is needed"),
        (["stop", "start", "--host", "codex"], "2 events are given"),
        (["stop", "--host"], "--host needs a value"),
        (["stop", "--host", "codex", "--db"], "--db needs a value"),
        (["stop", "--host", "codex", "--loud"], "the option '--loud' is not known"),
        ([], "0 events are given"),
    ],
)
def test_a_command_line_with_a_mistake_is_an_error(tmp_path: Path, arguments: list[str], expected: str) -> None:
    ended = subprocess.run(
        [*RAVEN, "hook", *arguments],
        input=b"{}",
        capture_output=True,
        env=environment(tmp_path),
        cwd=tmp_path,
        check=True,
    )

    assert ended.stdout == b"{}\n"
    assert expected in ended.stderr.decode()
    assert ended.stderr.count(b"\n") == 1


def test_options_may_have_their_value_after_an_equals_sign(hooked: Hooked) -> None:
    ended = hooked.run([f"--db={hooked.db}", "--host=claude-code", "prompt"], hooked.input("UserPromptSubmit"))

    assert ended.context is not None


def test_a_home_that_cannot_be_written_is_an_error_only_for_the_default_bus(hooked: Hooked) -> None:
    arguments, stdin, env = ["prompt", "--host", "claude-code"], hooked.input("UserPromptSubmit"), {"HOME": "/proc"}

    assert "/proc/.raven" in hooked.run(arguments, stdin, env).complaint
    assert hooked.run([*arguments, "--db", hooked.db], stdin, env).context is not None


def test_no_home_at_all_is_no_error_with_a_bus(hooked: Hooked) -> None:
    env = {"PATH": os.environ["PATH"], "RAVEN_DB": hooked.db}

    ended = hooked.run(["prompt", "--host", "claude-code"], hooked.input("UserPromptSubmit"), env, bare=True)

    assert ended.context is not None


def test_the_bus_is_found_from_the_folder_of_the_session(hooked: Hooked, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "raven.yaml").write_text(f"db: {hooked.db}\n")
    given = json.dumps({"session_id": SESSION, "cwd": str(project)}).encode()

    assert hooked.run(["prompt", "--host", "claude-code"], given).context is not None


def test_a_broken_settings_file_is_an_error(hooked: Hooked, tmp_path: Path) -> None:
    (tmp_path / "raven.yaml").write_text("db: [\n")

    assert "is not YAML" in hooked.run(["prompt", "--host", "claude-code"], hooked.input("UserPromptSubmit")).complaint


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_danger_to_the_bus(hooked: Hooked, closed: str) -> None:
    line = f"'{sys.executable}' -m raven hook prompt --host claude-code --db '{hooked.db}' {closed}"

    ended = hooked.run([], hooked.input("UserPromptSubmit"), shell=line)

    assert ended.code == 0
    assert hooked.bus.inbox(peek=True)
    assert Path(hooked.db).read_bytes()[:15] == b"SQLite format 3"


def test_a_reader_that_has_gone_is_no_error(hooked: Hooked) -> None:
    line = f"'{sys.executable}' -m raven hook prompt --host claude-code --db '{hooked.db}' | exec true"

    ended = hooked.run([], hooked.input("UserPromptSubmit"), shell=line)

    assert (ended.code, ended.err) == (0, "")


def test_an_input_that_does_not_end_is_an_error_within_two_seconds(hooked: Hooked) -> None:
    began = time.monotonic()
    with subprocess.Popen(
        [*RAVEN, "hook", "stop", "--host", "claude-code", "--db", hooked.db],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(hooked.folder),
    ) as started:
        assert started.stdin
        assert started.stdout
        assert started.stderr
        started.stdin.write(b"{")
        started.stdin.flush()
        assert started.wait(DEADLINE_S) == 0
        took_s = time.monotonic() - began
        assert started.stdout.read() == b"{}\n"
        assert b"did not end within 1 s" in started.stderr.read()
    assert took_s < Limit(2.0)


def test_a_hook_whose_time_is_over_answers_nothing(hooked: Hooked) -> None:
    with subprocess.Popen(
        [*RAVEN, "hook", "stop", "--host", "claude-code", "--db", hooked.db],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(hooked.folder),
    ) as started:
        assert started.stdin
        assert started.stdout
        assert started.stderr
        wait_until(lambda: started.poll() is not None or catches_alarms(started.pid), "the handler of the alarm")
        started.send_signal(signal.SIGALRM)

        assert started.stderr.read() == b"raven hook: the hook has no answer after 1.7 s: see `raven doctor`\n"
        assert (started.stdout.read(), started.wait(DEADLINE_S)) == (b"{}\n", 0)


def catches_alarms(pid: int) -> bool:
    """Whether a process has a handler for SIGALRM, see proc_pid_status(5)."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt")]
    return bool(int(line.split()[1], 16) & 1 << (signal.SIGALRM - 1))


def test_a_hook_by_hand_reads_no_terminal(hooked: Hooked) -> None:
    import pty

    primary, terminal = pty.openpty()
    try:
        ended = subprocess.run(
            [*RAVEN, "hook", "stop", "--host", "claude-code", "--db", hooked.db],
            stdin=terminal,
            capture_output=True,
            env=environment(hooked.folder),
            timeout=DEADLINE_S,
            check=True,
        )
    finally:
        os.close(primary)
        os.close(terminal)

    assert ended.stdout == b"{}\n"


def test_without_a_place_for_its_files_a_session_hears_all_the_same(hooked: Hooked) -> None:
    Path(f"{hooked.db}-bells").mkdir(0o700, exist_ok=True)
    Path(f"{hooked.db}-bells/flags").write_text("a file where a folder should be")

    assert hooked.hook("UserPromptSubmit").context is not None
    assert hooked.hook("Stop").answer == {}
