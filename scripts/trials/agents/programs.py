"""Programs: the coding agents under trial, from npm, in the pinned versions, in a folder of the trial."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import NamedTuple


class Program(NamedTuple):
    """A program: its package of npm, the version that the trial was written for, and its command."""

    title: str
    package: str
    version: str
    command: str


PROGRAMS = {
    "claude": Program("Claude Code", "@anthropic-ai/claude-code", "2.1.332", "claude"),
    "codex": Program("Codex", "@openai/codex", "0.171.0", "codex"),
    "opencode": Program("opencode", "opencode-ai", "1.18.33", "opencode"),
    "gemini": Program("Gemini CLI", "@google/gemini-cli", "0.61.0", "gemini"),
}


def install(folder: Path, name: str, version: str = "") -> str:
    """Install a program into a folder of its own below `folder`; returns "", or why npm could not.

    Without a version, the pinned one: if npm does not have it, the newest takes its place.
    """
    program = PROGRAMS[name]
    place = folder / name
    if not version and installed_version(folder, name) == program.version:
        return ""
    place.mkdir(parents=True, exist_ok=True)
    error = ""
    for wanted in (version or program.version, *([] if version else ["latest"])):
        options = ("--no-audit", "--no-fund", "--no-save", "--loglevel=error")
        command = ["npm", "install", "--prefix", str(place), *options, f"{program.package}@{wanted}"]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode == 0 and executable(folder, name).exists():
            return ""
        error = result.stderr.strip().splitlines()[0] if result.stderr.strip() else "the package has no command"
    return error


def executable(folder: Path, name: str) -> Path:
    """Return the path of a program's command."""
    return folder / name / "node_modules" / ".bin" / PROGRAMS[name].command


def installed_version(folder: Path, name: str) -> str:
    """Return the installed version of a program, or "" if there is none."""
    package = folder / name / "node_modules" / PROGRAMS[name].package / "package.json"
    if not package.exists() or not executable(folder, name).exists():
        return ""
    return str(json.loads(package.read_text(encoding="utf-8"))["version"])
