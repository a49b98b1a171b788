"""Agents: the processes of the demo, from their start to their end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import NamedTuple, Self

ROOT = Path(__file__).parents[2]
_END_DEADLINE_S = 20.0


class DemoError(Exception):
    """A step of the demo failed; the text says which one."""


class Agent(NamedTuple):
    """A process with an address of its own in the session `demo`, and the queues from which it takes jobs."""

    name: str
    language: str
    command: tuple[str, ...]
    task: str
    queues: tuple[str, ...] = ()

    @property
    def address(self) -> str:
        """The address of the agent."""
        return f"{self.name}:demo"


_WORKER = (sys.executable, "-m", "scripts.swarm.worker")
AGENTS = (
    Agent(
        "ann", "python", (*_WORKER, "ann"), "takes jobs from review:jobs and audit:jobs", ("review:jobs", "audit:jobs")
    ),
    Agent(
        "ben",
        "python",
        (*_WORKER, "ben"),
        "the same two: each job goes to one worker",
        ("review:jobs", "audit:jobs"),
    ),
    Agent(
        "sue", "shell", ("sh", "scripts/swarm/worker.sh", "sue"), "review:jobs, by the raven command", ("review:jobs",)
    ),
    Agent("editor", "python", (sys.executable, "-m", "scripts.swarm.editor"), "adds up the findings"),
    Agent("checker", "python", (sys.executable, "-m", "scripts.swarm.checker"), "idle until it is asked"),
)


class Agents:
    """Starts all agents on one bus; at the end of the `with` block no process is left.

    Each agent has a process group of its own. Ctrl-C in a terminal therefore reaches the demo alone, which then ends
    the agents together with all processes that they have started.
    """

    def __init__(self, bus: str) -> None:
        self.bus = bus
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._killed: set[str] = set()
        self._is_interrupted = False

    def interrupt(self, number: int, frame: FrameType | None) -> None:
        """Handle SIGINT: end the demo now, or at its next check if a callback of C code swallows the exception."""
        self._is_interrupted = True
        raise KeyboardInterrupt

    def __enter__(self) -> Self:
        return self

    def start(self) -> None:
        """Start every agent with the bus in RAVEN_DB and the `raven` of this environment first on the PATH."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RAVEN")}
        commands = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        for agent in AGENTS:
            self._running[agent.name] = subprocess.Popen(
                agent.command,
                stdin=subprocess.DEVNULL,
                env={**kept, "RAVEN_DB": self.bus, "PATH": commands},
                cwd=ROOT,
                process_group=0,
            )

    def pid(self, name: str) -> int:
        """Return the process id of an agent."""
        return self._running[name].pid

    def check(self) -> None:
        """Raise DemoError if an agent has ended that the demo did not kill, and KeyboardInterrupt after a SIGINT."""
        if self._is_interrupted:
            raise KeyboardInterrupt
        for name, process in self._running.items():
            if name not in self._killed and process.poll() is not None:
                raise DemoError(f"{name}:demo ended too early, with exit status {process.returncode}")

    def kill(self, name: str) -> None:
        """Kill an agent with signal 9 and wait for its end."""
        self._killed.add(name)
        self._kill_group(self._running[name])

    def wait(self) -> None:
        """Wait until the agents have ended by themselves; raises DemoError if one fails or goes on for 5 s."""
        deadline = time.monotonic() + _END_DEADLINE_S
        for name, process in self._running.items():
            if name in self._killed:
                continue
            try:
                status = process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                raise DemoError(
                    f"{name}:demo did not end within {_END_DEADLINE_S:g} s of the broadcast 'stop'"
                ) from None
            if status:
                raise DemoError(f"{name}:demo ended with exit status {status}")

    def __exit__(self, *error: object) -> None:
        for process in self._running.values():
            self._kill_group(process)

    @staticmethod
    def _kill_group(process: subprocess.Popen[bytes]) -> None:
        # The group can outlive its first process.
        with suppress(ProcessLookupError, PermissionError):  # macOS answers EPERM for a group of zombies
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
