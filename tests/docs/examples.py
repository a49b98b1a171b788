"""Running the examples as their READMEs say: each leaves an output and a bus."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from raven import BusObserver, Message

ROOT = Path(__file__).parents[2]
DEADLINE_S = 300
HELLO = "python examples/01-hello-world/hello.py"
CONSUMER = "python examples/02-two-processes/consumer.py"
PRODUCER = "python examples/02-two-processes/producer.py"
NEWS_DESK = "python examples/03-news-desk/run.py"
SERVER_INCIDENT = "python examples/04-server-incident/run.py"
WITHOUT_FIXER = f"{SERVER_INCIDENT} --without fixer --deadline-s 3"
SHELL_SOCAT = "examples/05-json-rpc-shell/run.sh"
SHELL_NC = f"RPC_TOOL=nc {SHELL_SOCAT}"
NODE = "python examples/06-json-rpc-node/run.py"
SANDBOXED_WORKER = "python examples/07-sandboxed-worker/run.py"
EXACTLY_ONCE = "python examples/08-exactly-once/run.py"
CODING_AGENTS = "python examples/09-coding-agents/run.py"
WATCH_A_SWARM = "python examples/10-watch-a-swarm/run.py"
TWO_HOSTS = "python examples/11-two-hosts/run.py"
WITHOUT_TRANSACTION = f"{EXACTLY_ONCE} --naive --kills 40"

# Every command of every README, in its order; each is run by a test, just as it stands there.
COMMANDS = {
    "01-hello-world": [HELLO],
    "02-two-processes": [CONSUMER, PRODUCER],
    "03-news-desk": [NEWS_DESK],
    "04-server-incident": [SERVER_INCIDENT, WITHOUT_FIXER],
    "05-json-rpc-shell": [SHELL_SOCAT, SHELL_NC],
    "06-json-rpc-node": [NODE],
    "07-sandboxed-worker": [SANDBOXED_WORKER],
    "08-exactly-once": [EXACTLY_ONCE, WITHOUT_TRANSACTION],
    "09-coding-agents": [CODING_AGENTS],
    "10-watch-a-swarm": [WATCH_A_SWARM],
    "11-two-hosts": [TWO_HOSTS],
}


def fenced(text: str, language: str) -> list[str]:
    """Return the fenced blocks of one language in a document."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def sessions(text: str) -> list[tuple[str, str]]:
    """Return the commands of all console blocks of a document, each with its expected output."""
    parts = [part for block in fenced(text, "console") for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]
    return [(command, printed) for command, _, printed in (part.partition("\n") for part in parts)]


def blocks(example: str, language: str) -> list[str]:
    """Return the fenced blocks of one language in an example's README."""
    return fenced((ROOT / "examples" / example / "README.md").read_text(encoding="utf-8"), language)


def in_example(example: str, program: str, *args: object) -> str:
    """Run a program among the modules of an example, in a process of its own; returns its output."""
    command = [sys.executable, "-c", program, *map(str, args)]
    folder = ROOT / "examples" / example
    return subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, timeout=DEADLINE_S, check=True).stdout


def start(command: str, folder: Path, *args: str) -> subprocess.Popen[str]:
    """Start a command of a README from the project's root; its default files go to `folder`."""
    words = shlex.split(command)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAVEN")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # On a loaded machine a server takes longer to start than a command waits by itself.
    environment = {**kept, "TMPDIR": str(folder), "PATH": path, "RAVEN_CONNECT_TIMEOUT_S": "20"}
    while "=" in words[0]:
        name, _, environment[name] = words.pop(0).partition("=")
    program = sys.executable if words[0] == "python" else str(ROOT / words[0])
    return subprocess.Popen(
        [program, *words[1:], *args],
        cwd=ROOT,
        env=environment,
        start_new_session=True,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@contextmanager
def deadline(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """Kill the process if the block takes too long, so that no read of its output can hang."""
    timer = threading.Timer(DEADLINE_S, _kill, [process])
    timer.start()
    try:
        yield process
    finally:
        timer.cancel()
        _kill(process)
        process.communicate()


def _kill(process: subprocess.Popen[str]) -> None:
    """Kill a process and its children, which would hold its output open; a reaped process is left alone."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


def run(command: str, folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    with deadline(start(command, folder, *args)) as process:
        output, errors = process.communicate()
        return subprocess.CompletedProcess(command, process.returncode, output, errors)


def succeed(command: str, folder: Path, *args: str) -> str:
    """Run a command that must end well and complain of nothing; returns its output."""
    done = run(command, folder, *args)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


@dataclass(frozen=True)
class Ended:
    """An example that has run: its output and its bus."""

    output: str
    db_path: Path
    messages: list[Message]

    def of_type(self, type_: str) -> list[Message]:
        return [msg for msg in self.messages if msg.type == type_]

    def about(self, correlation_id: str | None) -> list[Message]:
        return [msg for msg in self.messages if msg.correlation_id == correlation_id]


def run_to_its_end(command: str, folder: Path) -> Ended:
    """Run an example that makes a bus of its own somewhere in the temporary folder."""
    output = succeed(command, folder)
    (db_path,) = folder.glob("raven-*/bus.db")
    return Ended(output, db_path, messages_on(db_path))


def messages_on(db_path: Path) -> list[Message]:
    """Return all messages, after a check that no message is unfinished."""
    with BusObserver(str(db_path)) as bus:
        messages = list(bus.tail(follow=False))
        pending = {peer.address: peer.pending for peer in bus.peers()}
    assert messages
    assert {msg.state for msg in messages} == {"acked"}
    assert set(pending.values()) == {0}, pending
    return messages


def shapes(text: str) -> set[str]:
    """Return the lines of an output without what differs from run to run: numbers and the width of columns."""
    return {" ".join(re.sub(r"\d+(\.\d+)?", "N", line).split()) for line in text.splitlines()}
