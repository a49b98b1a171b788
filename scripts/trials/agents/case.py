"""Case: one trial of one program, in a folder with a home, a project and a bus of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

from scripts.trials.agents import processes, programs
from scripts.trials.agents.outcome import Outcome, Verdict
from scripts.trials.agents.terminal import Terminal

_T = TypeVar("_T")


class CannotRunError(Exception):
    """The case cannot be run here; the text says why."""


class Case:
    """The place of one case: folders, an environment, raven's command, and the facts that the run sees.

    `environment` is all that a program under trial gets. `raven` and the programs are on its PATH.
    """

    def __init__(self, folder: Path, program_folder: Path, program: str, stack: ExitStack) -> None:
        self.program = program
        self.folder, self.stack = folder, stack
        self.home, self.project = folder / "home", folder / "shop"
        for place in (self.home, self.project, folder / "tmp"):
            place.mkdir()
        stack.callback(processes.end_all, self.home)
        self.facts: list[str] = []
        self.failures: list[str] = []
        self.program_folder = program_folder
        self._terminals = 0
        commands = [programs.executable(program_folder, name).parent for name in programs.PROGRAMS]
        folders = [Path(sys.executable).parent, *commands, *map(Path, os.defpath.split(":")), Path("/usr/local/bin")]
        self.environment = {
            "HOME": str(self.home),
            "PATH": ":".join(dict.fromkeys(map(str, folders))),
            "LANG": "C.UTF-8",
            "TERM": "xterm-256color",
            "USER": "trial",
            "TMPDIR": str(folder / "tmp"),
        }

    def command(self, program: str = "") -> str:
        """Return the path of a program under trial; raises CannotRunError if it is not installed."""
        path = programs.executable(self.program_folder, program or self.program)
        if not path.exists():
            raise CannotRunError(f"{programs.PROGRAMS[program or self.program].title} is not installed")
        return str(path)

    def run(
        self, command: Sequence[str], *, timeout_s: float = 60, cwd: Path | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, with the environment of the case; AssertionError if it fails and is checked."""
        result = subprocess.run(
            list(command),
            env=self.environment,
            cwd=cwd or self.project,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        shown = " ".join(map(os.path.basename, command[:4]))
        output = (result.stdout + result.stderr).strip()
        assert not check or result.returncode == 0, f"{shown} ended with {result.returncode}: {output[-1500:]}"
        return result

    def raven(self, *arguments: str, check: bool = True) -> str:
        """Run a command of raven, and return its output."""
        return self.run([sys.executable, "-m", "raven", *arguments], check=check).stdout

    def peers(self) -> list[dict[str, Any]]:
        """Return the addresses of the bus as `raven peers --json` shows them; none if there is no bus yet."""
        shown = self.raven("peers", "--json", check=False) or '{"peers": []}'
        peers: list[dict[str, Any]] = json.loads(shown)["peers"]
        return peers

    def send(self, to: str, body: str, urgency: str = "prompt", sender: str = "boss:desk") -> tuple[int, float]:
        """Send a message by `raven send`; returns its id, and the time before that process was started."""
        began = time.monotonic()
        options = ("--from", sender, "--to", to, "--type", "question", "--urgency", urgency)
        sent = self.raven("send", *options, "--body", json.dumps(body), "--json")
        return int(json.loads(sent)["id"]), began

    def terminal(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> Terminal:
        """Start a program in a terminal, in the project, which ends with the case."""
        self._terminals += 1
        socket = self.folder / f"t{self._terminals}"
        return self.stack.enter_context(Terminal(socket, command, environment or self.environment, self.project))

    def expect(self, condition: object, text: str) -> None:
        """Record a failure unless the condition holds; `text` states the promise."""
        if not condition:
            self.failures.append(f"not so: {text}")

    def see(self, fact: str) -> None:
        """Record a fact for the table."""
        self.facts.append(fact)


def try_case(scenario: Callable[[Case], None], title: str, program: str, folder: Path, program_folder: Path) -> Outcome:
    """Run a case in an empty folder, and return its outcome; an exception is a failure of it."""
    began = time.monotonic()
    verdict: Verdict = "yes"
    with ExitStack() as stack:
        case = Case(folder, program_folder, program, stack)
        try:
            scenario(case)
        except CannotRunError as error:
            verdict = "not run"
            case.see(str(error))
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            text = str(error) if isinstance(error, AssertionError) else f"{error!r} in {where.name}"
            case.failures.append(text)
    if case.failures:
        verdict = "NO"
    return Outcome(program, title, verdict, case.facts, case.failures, round(time.monotonic() - began, 1))
