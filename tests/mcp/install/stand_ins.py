"""Stand-ins for the programs of hosts, as far as `raven install` runs them, and a machine that has them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from tests.cli.shell import Shell

RAVEN = os.path.join(sysconfig.get_path("scripts"), "raven")
HOSTS = ("claude-code", "codex", "gemini", "opencode", "cursor")
PROGRAMS = {"claude-code": "claude", "codex": "codex", "gemini": "gemini", "opencode": "opencode", "cursor": "cursor"}
# A stand-in notes how it was called, and changes the files that the real program changes.
CLAUDE = """
settings = home / ".claude" / "settings.json"
held = json.loads(settings.read_text()) if settings.exists() else {}
match sys.argv[1:]:
    case ["plugin", "marketplace", "add", folder]:
        name = json.loads((pathlib.Path(folder) / ".claude-plugin" / "marketplace.json").read_text())["name"]
        held.setdefault("extraKnownMarketplaces", {})[name] = {"source": {"source": "directory", "path": folder}}
    case ["plugin", "install", plugin, *_]:
        held.setdefault("enabledPlugins", {})[plugin] = True
    case ["plugin", "uninstall", plugin, *_]:
        del held["enabledPlugins"][plugin]
    case ["plugin", "marketplace", "remove", name]:
        del held["extraKnownMarketplaces"][name]
settings.parent.mkdir(exist_ok=True)
settings.write_text(json.dumps(held, indent=2))
"""
CODEX = """
config = home / ".codex" / "config.toml"
match sys.argv[1:]:
    case ["mcp", "add", name, "--", command, *args]:
        config.parent.mkdir(exist_ok=True)
        text = config.read_text() if config.exists() else ""
        gap = "\\n" if text else ""
        table = f"[mcp_servers.{name}]\\ncommand = {json.dumps(command)}\\nargs = {json.dumps(args)}\\n"
        config.write_text(text + gap + table)
"""
OTHER = ""
START = "import json, os, pathlib, sys\nhome = pathlib.Path(os.environ['HOME'])\n"
NOTE = "(home / 'calls').open('a').write(json.dumps(sys.argv[1:]) + chr(10))\n"


class Machine:
    """A home with hosts, in which a shell user installs raven; PATH has nothing but the programs of the test."""

    def __init__(self, shell: Shell, folder: Path) -> None:
        self.shell = shell
        self.home = folder / "home"
        self.project = folder
        self.bin = folder / "bin"
        self.bin.mkdir()
        os.symlink(RAVEN, self.bin / "raven")
        self.shell.environment["PATH"] = str(self.bin)
        for name in ("CLAUDE_CONFIG_DIR", "CODEX_HOME", "XDG_CONFIG_HOME", "CLAUDE_CODE_SESSION_ID"):
            self.shell.environment.pop(name, None)

    def has(self, host: str) -> None:
        """Give the machine a host by its folder alone."""
        folder = {"claude-code": ".claude", "opencode": ".config/opencode"}.get(host, f".{host}")
        (self.home / folder).mkdir(parents=True, exist_ok=True)

    def has_program(self, name: str, source: str = OTHER) -> Path:
        """Put a program on PATH."""
        path = self.bin / name
        path.write_text(f"#!{sys.executable}\n{START}{NOTE}{source}")
        path.chmod(0o755)
        return path

    def calls(self) -> list[list[str]]:
        """Return the arguments of each run of a program."""
        path = self.home / "calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def write(self, path: str, content: str | bytes) -> Path:
        """Write a file below the home."""
        file = self.home / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    def read(self, path: str) -> Any:
        """Return the JSON value of a file below the home."""
        return json.loads((self.home / path).read_text())

    def install(self, *words: str) -> str:
        """Run `raven install` with success, and return its output."""
        return self.shell.ok("install", *words, "--yes")

    def refused(self, code: int, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `raven install` that must end with this exit code."""
        done = self.shell.run("install", *words, "--yes")
        assert done.returncode == code, done
        return done

    def snapshot(self) -> dict[str, tuple[int, bytes]]:
        """Return every file of the home and of the project: its mode, and its content or the target of its link."""
        found = {}
        for folder, folders, names in os.walk(self.project):
            if folder == str(self.bin):
                folders.clear()
                continue
            for name in (*folders, *names):
                path = Path(folder, name)
                if path.name == "calls" or path.name.startswith("bus.db"):
                    continue
                is_file = path.is_file() and not path.is_symlink()
                content = path.read_bytes() if is_file else os.readlink(path).encode() if path.is_symlink() else b"/"
                found[str(path.relative_to(self.project))] = (path.lstat().st_mode & 0o7777, content)
        return found
