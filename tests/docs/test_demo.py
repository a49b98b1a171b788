"""The demo shows each promised element within its time and leaves no process behind."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.harness.deadline import wait_until
from tests.docs.examples import ROOT


def run_demo(
    folder: Path, on_line: Callable[[subprocess.Popen[str], str], object] = lambda *_: None
) -> tuple[str, str, int]:
    """Run scripts/demo in a folder; returns its output, its errors and its exit code."""
    command = [ROOT / "scripts/demo"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as demo:
        lines = []
        for line in demo.stdout:
            lines.append(line)
            on_line(demo, line)
        return "".join(lines), demo.stderr.read(), demo.wait(60)


def allowed_s(idle_s: float) -> float:
    """Return the time that is allowed for a step which takes `idle_s` seconds on an idle machine."""
    return idle_s * max(1.0, 2 * os.getloadavg()[0] / (os.cpu_count() or 1))


def pids(output: str) -> dict[str, int]:
    return {name: int(pid) for name, pid in re.findall(r"^  (\w+):demo +\w+ +pid (\d+)", output, flags=re.MULTILINE)}


def assert_no_agent_runs(output: str) -> None:
    """Each agent leads a process group; init reaps the orphans of a killed group with a delay."""
    agents = pids(output)
    assert agents.pop("conductor")
    for name, pid in agents.items():
        wait_until(lambda pid=pid: has_ended(pid), f"the end of the process group of {name}")


def has_ended(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.slow
def test_the_demo_shows_messages_a_takeover_and_findings_within_its_time(tmp_path: Path) -> None:
    started, times = time.monotonic(), []

    output, errors, code = run_demo(tmp_path, lambda *_: times.append(time.monotonic() - started))

    assert (code, errors) == (0, "")
    assert times[0] < allowed_s(2)
    assert times[-1] < allowed_s(15)
    lines = [re.sub(r"\S+/bin/raven", ".venv/bin/raven", line) for line in output.splitlines()]
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in output
    assert list(pids(output)) == ["conductor", "ann", "ben", "sue", "editor", "checker"]
    assert_no_agent_runs(output)

    ms = r" +\d+(\.\d+)? ms$"
    for message in (
        r"#1 +conductor:demo -> \*:demo +start to all 5 agents",
        r"#2 +conductor:demo -> review:jobs +review \S+\.py",
        r"#3 +(ann|ben|sue):demo +-> editor:demo +findings of #2: \w+",
        r"#\d+ +conductor:demo -> audit:jobs +audit \d+ files",
        r"#\d+ +conductor:demo -> checker:demo +check [\d,]+ lines\?",
        r"#\d+ +checker:demo +-> conductor:demo +checked agrees, idle [\d.]+ s",
    ):
        assert re.search(message + ms, output, flags=re.MULTILINE), message
    assert re.search(r"^ +ann [\d.]+   ben [\d.]+   checker [\d.]+   editor [\d.]+   sue [\d.]+$", output, re.MULTILINE)

    total = re.search(r"^  all +(\d+)", output, flags=re.MULTILINE)
    files = int(total[1])
    shares = dict(re.findall(r"(ann|ben|sue) (\d+)", re.search(r"messages in .* \((.*)\)$", output, re.MULTILINE)[1]))
    assert sum(map(int, shares.values())) == files
    assert int(shares["sue"]) > 0
    assert re.search(r"^  raven +\d+ +[\d,]+ +[\d,]+ +\d+   \d+ lines: \w+", output, flags=re.MULTILINE)

    victim, parsed, of, pid = re.search(
        r"^  (\w+):demo has parsed (\d+) of (\d+) files: kill -9 (\d+)$", output, re.M
    ).groups()
    heir, audit, attempt = re.search(r"^  (\w+:demo) takes #(\d+) over .*: attempt (\d+)$", output, re.M).groups()
    assert (int(parsed) < int(of), int(of), int(pid)) == (True, files, pids(output)[victim])
    assert heir != f"{victim}:demo"
    assert int(attempt) >= 2

    commands = re.findall(r"\S+/bin/raven .*", output)
    assert [command.split()[1] for command in commands] == ["tail", "thread", "stats"]
    tail, thread, stats = (
        subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
        ).stdout
        for command in commands
    )
    # Two messages a file; besides them at least 2 broadcasts, a report, 2 of the check and 6 of the audit.
    assert len(tail.splitlines()) >= 2 * files + 11
    assert f"#{audit} conductor:demo -> audit:jobs" in thread
    assert f"{heir} -> conductor:demo type=audited" in thread
    assert "review:jobs" in stats


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fail", "code", "message"),
    [
        (lambda demo, _: demo.send_signal(signal.SIGINT), 130, "demo: stopped"),
        (lambda _, agents: os.kill(agents["editor"], signal.SIGKILL), 1, "demo: failed: editor:demo ended too early"),
    ],
    ids=["Ctrl-C", "an agent dies"],
)
def test_a_demo_that_fails_says_why_and_leaves_no_process(
    fail: Callable[[subprocess.Popen[str], dict[str, int]], None], code: int, message: str, tmp_path: Path
) -> None:
    shown = []

    def fail_midway(demo: subprocess.Popen[str], line: str) -> None:
        shown.append(line)
        if line.startswith("MESSAGES"):
            fail(demo, pids("".join(shown)))

    output, errors, exit_code = run_demo(tmp_path, fail_midway)

    assert exit_code == code
    assert message in errors
    assert "Traceback" not in errors
    assert "FOUND" not in output
    assert_no_agent_runs(output)


@pytest.mark.slow
def test_the_demo_deletes_no_file_that_is_not_a_bus(tmp_path: Path) -> None:
    (tmp_path / "demo.db").write_text("notes", encoding="utf-8")

    _, errors, code = run_demo(tmp_path)

    assert code == 1
    assert errors.startswith("demo: failed: ")
    assert (tmp_path / "demo.db").read_text(encoding="utf-8") == "notes"


@pytest.mark.parametrize(
    ("on_terminal", "no_color", "is_coloured"), [(True, "", True), (True, "1", False), (False, "", False)]
)
def test_the_demo_has_colour_only_on_a_terminal_and_without_no_color(
    on_terminal: bool, no_color: str, is_coloured: bool
) -> None:
    reader, writer = pty.openpty() if on_terminal else os.pipe()
    program = "from scripts.swarm.screen import Screen; Screen().heading('A', 'B')"

    subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "NO_COLOR": no_color},
        stdout=writer,
        check=True,
        timeout=60,
    )

    shown = os.read(reader, 1000)
    os.close(writer)
    os.close(reader)
    assert (b"\x1b[1mA\x1b[0m" in shown) is is_coloured
    assert b"A" in shown


@pytest.mark.parametrize(
    ("option", "code", "text"),
    [("--help", 0, "scripts/demo --watch"), ("--frob", 2, "error: --frob is no option: see scripts/demo --help")],
)
def test_an_option_is_no_name_of_a_bus_file(tmp_path: Path, option: str, code: int, text: str) -> None:
    done = subprocess.run(
        [ROOT / "scripts/demo", option], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False
    )

    assert (done.returncode, list(tmp_path.iterdir())) == (code, [])
    assert text in done.stdout + done.stderr
