"""Hooked: a session that is bound on a bus, and its hooks as real processes of the command `raven hook`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from raven import BusClient
from raven.agents import process
from raven.agents.agents import Agents
from raven.agents.process import ProcessId
from tests.mcp.harness import environment
from tests.support import DEADLINE_S

RAVEN = (sys.executable, "-m", "raven")
SESSION = "0b9d7b1a-6a2c-4a57-9a53-3d1f6a6c3f2a"
ADDRESS = "verifier:pay"


class Ended(NamedTuple):
    """A hook that has ended: its exit code, and what it wrote."""

    code: int
    out: bytes
    err: str

    @property
    def answer(self) -> Any:
        """The JSON of a hook that did its work: nothing is on stderr."""
        assert (self.code, self.err) == (0, ""), self
        return json.loads(self.out)

    @property
    def complaint(self) -> str:
        """The line of a hook that met an error: it has not disturbed its host."""
        assert (self.code, self.out) == (0, b"{}\n"), self
        assert self.err.startswith("raven hook: ")
        assert self.err.count("\n") == 1
        return self.err.removeprefix("raven hook: ").rstrip("\n")

    @property
    def context(self) -> str | None:
        """The text that the model sees; None without one."""
        text: str | None = self.answer.get("hookSpecificOutput", {}).get("additionalContext")
        return text


class Hooked:
    """A session of a host at the address `verifier:pay`, whose process is this one; close it after use."""

    def __init__(
        self,
        folder: Path,
        host: str = "claude-code",
        session: str = SESSION,
        owner: ProcessId | None = None,
        *,
        is_bound: bool = True,
    ) -> None:
        self.db = str(folder / "bus.db")
        self.folder = folder
        self.host = host
        self.session = session
        self._senders: list[BusClient] = []
        self.bus = BusClient.at(ADDRESS, self.db)
        self._senders.append(self.bus)
        if is_bound:
            Agents(self.bus._store).bind(ADDRESS, host, session, owner or process.own(), str(folder))

    def send(
        self, sender: str = "architect:pay", urgency: Any = "prompt", type: str = "question", **options: Any
    ) -> int:
        """Send the session a message, and return its id."""
        with BusClient.at(sender, self.db) as bus:
            return bus.send(ADDRESS, type, "Which column?", urgency=urgency, **options).id

    def hook(self, event: str, **given: Any) -> Ended:
        """Run a hook to its end, with an input as the host writes it."""
        return self.run([event, "--host", self.host, "--db", self.db], self.input(event, **given))

    def input(self, event: str, **given: Any) -> bytes:
        """Return the input of a hook."""
        fields = {"session_id": self.session, "cwd": str(self.folder), "hook_event_name": event, **given}
        return json.dumps(fields).encode()

    def run(
        self,
        arguments: Iterable[str],
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        shell: str | None = None,
        bare: bool = False,
    ) -> Ended:
        """Run `raven hook`, or a line of a shell, and wait for its end; with `bare`, `env` is its whole environment."""
        command = ["sh", "-c", shell] if shell else [*RAVEN, "hook", *arguments]
        ended = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            cwd=self.folder,
            env=dict(env or {}) if bare else environment(self.folder, env),
            timeout=DEADLINE_S,
            check=False,
        )
        return Ended(ended.returncode, ended.stdout, ended.stderr.decode())

    def begin(self, event: str, **given: Any) -> subprocess.Popen[bytes]:
        """Start a hook that goes on, and give it its input."""
        started = subprocess.Popen(
            [*RAVEN, "hook", event, "--host", self.host, "--db", self.db],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.folder,
            env=environment(self.folder),
        )
        assert started.stdin
        started.stdin.write(self.input("Stop", **given))
        started.stdin.close()
        started.stdin = None  # else `communicate` would flush it
        return started

    def files(self) -> list[str]:
        """Return the files of the session beside the bus."""
        folder = Path(f"{self.db}-bells/flags")
        return sorted(os.listdir(folder)) if folder.is_dir() else []

    def close(self) -> None:
        """Close the clients."""
        for sender in self._senders:
            sender.close()
