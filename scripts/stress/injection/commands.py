"""Commands: runs `raven` commands as processes, and checks that their output is harmless."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from scripts.stress.injection.texts import FORGED, is_harmless
from scripts.stress.trial import Round

_DEADLINE_S = 60.0
_LAST_CODE = 7
_EXTERNAL_CLIENT = """
import json, sqlite3, sys
bus = sqlite3.connect(sys.argv[1], isolation_level=None)
for line in sys.stdin:
    bus.execute(*json.loads(line))
"""


class CommandRunner:
    """A user in the folder of a round, whose bus is `bus.db` there."""

    def __init__(self, round: Round) -> None:
        self.round = round
        self.folder = round.folder
        self.db = str(round.folder / "bus.db")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAVEN", "_RAVEN"))}
        self.environment = {**kept, "RAVEN_DB": self.db, "HOME": str(self.folder), "PYTHONIOENCODING": "utf-8"}

    def run(self, *arguments: str, stdin: str = "") -> tuple[int, str]:
        """Run a command, check its exit code and its output, and return both."""
        done = subprocess.run(
            [sys.executable, "-m", "raven", *arguments],
            input=stdin.encode(errors="surrogatepass"),
            capture_output=True,
            timeout=_DEADLINE_S,
            cwd=self.folder,
            env=self.environment,
            check=False,
        )
        self.round.count("commands")
        called = f"raven {' '.join(arguments)!a}"
        self.round.expect(0 <= done.returncode <= _LAST_CODE, f"{called} ended with {done.returncode}")
        self.round.expect(b"Traceback" not in done.stderr, f"{called} failed: {done.stderr[-300:]!r}")
        for name, data in (("stdout", done.stdout), ("stderr", done.stderr)):
            try:
                text = data.decode()
            except UnicodeDecodeError:
                self.round.report("broken", f"{called} printed invalid UTF-8 to {name}")
                continue
            self.round.expect(is_harmless(text), f"{called} printed control characters to {name}: {text!a:.300}")
            is_forged = any(line.startswith(FORGED) for line in text.splitlines())
            self.round.expect(not is_forged, f"{called} printed a forged line to {name}: {text!a:.300}")
        return done.returncode, done.stdout.decode(errors="replace")

    def json(self, *arguments: str, lines: int | None = 1) -> list[Any]:
        """Run a command with `--json`, check that each line is one JSON text in ASCII, and return the values."""
        code, text = self.run(*arguments, "--json")
        called = f"raven {' '.join(arguments)!a} --json"
        self.round.expect(code == 0, f"{called} ended with {code}")
        self.round.expect(
            text.isascii() and text.endswith("\n"), f"{called} printed incomplete lines or other characters than ASCII"
        )
        values = []
        for line in text.removesuffix("\n").split("\n"):
            try:
                values.append(json.loads(line))
            except ValueError:
                self.round.report("broken", f"{called} printed a line that is not JSON: {line:.200}")
        self.round.expect(lines is None or len(values) == lines, f"{called} printed {len(values)} lines, not {lines}")
        self.round.count("JSON lines", len(values))
        return values

    def external(self, *statements: tuple[str, list[Any]]) -> None:
        """Run statements as an external SQLite client, each in its own transaction."""
        lines = "".join(json.dumps(statement) + "\n" for statement in statements)
        subprocess.run(
            [sys.executable, "-c", _EXTERNAL_CLIENT, self.db], input=lines, text=True, check=True, timeout=_DEADLINE_S
        )
        self.round.count("external SQL statements", len(statements))

    def unexpected_files(self) -> list[Path]:
        """Return the files in the folder that neither raven nor this trial creates."""
        known = ("bus.db", "raven.yaml", "got", "probe", "sub")
        return [path for path in self.folder.iterdir() if not path.name.startswith(known)]
