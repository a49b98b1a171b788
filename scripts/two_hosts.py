"""Two hosts: mail, receipts and a question between two folders that are linked, and a killed server in between."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

from scripts.harness.deadline import wait_until
from scripts.harness.linked import Linked
from scripts.harness.nats_server import NATSServer, binaries

RAVEN = os.path.join(os.path.dirname(sys.executable), "raven")
HOSTS = ("alpha", "beta")


class DemoError(Exception):
    """A step of the demo has failed."""


def main(caller: str, name: str) -> int:
    """Run the demo; `name` is the folder of both hosts, relative to `caller`. Exit 1 and name the cause if it fails."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _exit)
    folder = Path(caller, name)
    try:
        if not binaries():
            raise DemoError("nats-server is not installed: see https://nats.io/download/")
        folder.mkdir()
        with ExitStack() as stack:
            show(folder, stack)
    except FileExistsError:
        print(f"two-hosts: {folder} exists already: name another folder", file=sys.stderr)
        return 2
    except (DemoError, AssertionError, OSError) as error:
        print(f"two-hosts: failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ntwo-hosts: stopped", file=sys.stderr)
        return 130
    return 0


def show(folder: Path, stack: ExitStack) -> None:
    """Link the two hosts, and show each step; all processes end with the stack."""
    heading("TWO HOSTS", "each has a folder, a bus and a relay; one server is between them")
    server = stack.enter_context(NATSServer(folder / "nats", next(iter(binaries().values()))))
    print(f"  nats-server      pid {server.pid:<8}{server.url}")
    for host in HOSTS:
        (folder / host).mkdir()
        relay = stack.enter_context(Linked(folder / host / "bus.db", server.url, host))
        print(f"  raven link       pid {relay.pid:<8}{host}/bus.db")

    heading("MAIL", "the worker waits on beta, and the boss sends on alpha")
    worker = stack.enter_context(Waiting(folder, "raven subscribe --db beta/bus.db -a worker:demo --count 1"))
    wait_until(lambda: "beta" in output(folder, "raven peers --db alpha/bus.db"), "alpha knows the worker of beta")
    run(folder, "raven send --db alpha/bus.db --from boss:demo --to worker:demo -t job --body '{\"n\": 1}'")
    worker.show()
    receipts = "raven receipts 1 --db alpha/bus.db"
    wait_until(lambda: "acked" in output(folder, receipts), "the receipt is back on alpha")
    run(folder, receipts)

    heading("A QUESTION", "beta answers it, and the answer comes back to the asking process")
    question = "raven request --db alpha/bus.db --from boss:demo --to worker:demo -t add --body '[40, 2]'"
    boss = stack.enter_context(Waiting(folder, question))
    asked = run(folder, "raven subscribe --db beta/bus.db -a worker:demo --count 1")
    run(folder, f"raven reply {asked.partition(' ')[0][1:]} --db beta/bus.db -t sum --body 42")
    boss.show()

    heading("THE SERVER DIES", "send goes on, and the mail arrives when it is back")
    print(f"$ kill -9 {server.pid}")
    server.kill()
    for n in (2, 3):
        run(folder, f"raven send --db alpha/bus.db --from boss:demo --to worker:demo -t job --body '{{\"n\": {n}}}'")
    server.start()
    print(f"  nats-server is back: pid {server.pid}")
    run(folder, "raven subscribe --db beta/bus.db -a worker:demo --count 2")

    heading("THE LINK")
    status = "raven link status --db alpha/bus.db"
    wait_until(
        lambda: " yes " in (shown := output(folder, status)) and "trouble:" not in shown,
        "the status shows beta, and the server as it is",
    )
    run(folder, status)
    print(f"\nBoth buses are in {folder}. Next: docs/many-hosts.md")


class Waiting:
    """A command that waits in the background for its message."""

    def __init__(self, folder: Path, command: str) -> None:
        print(f"$ {command} &")
        self._process = start(folder, command)

    def __enter__(self) -> Waiting:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.communicate()

    def show(self) -> None:
        """Wait for the end of the command, and print its output."""
        finish(self._process)


def heading(name: str, text: str = "") -> None:
    print(f"\n{name}  {text:>{78 - len(name)}}".rstrip(), flush=True)


def run(folder: Path, command: str) -> str:
    """Print a command, run it, print its output and return it; DemoError if the command fails."""
    print(f"$ {command}", flush=True)
    return finish(start(folder, command))


def output(folder: Path, command: str) -> str:
    return start(folder, command).communicate(timeout=60)[0]


def start(folder: Path, command: str) -> subprocess.Popen[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAVEN")}
    path = f"{os.path.dirname(RAVEN)}{os.pathsep}{kept.get('PATH', os.defpath)}"
    return subprocess.Popen(
        [RAVEN, *shlex.split(command)[1:]],
        cwd=folder,
        env={**kept, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    shown, _ = process.communicate(timeout=60)
    print(shown.rstrip(), flush=True)
    if process.returncode:
        raise DemoError(f"a command ended with exit code {process.returncode}")
    return shown


def _exit(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
