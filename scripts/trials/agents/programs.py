"""Programs: the coding agents under trial, from npm, in the pinned versions, in a folder of the trial."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import NamedTuple


class Program(NamedTuple):
    """A program: its package of npm, the version that the trial was written for, and its command.

    `beside` is a package of the same version, which the program would install itself at its start.
    """

    title: str
    package: str
    version: str
    command: str
    beside: str = ""


PROGRAMS = {
    "claude": Program("Claude Code", "@anthropic-ai/claude-code", "2.1.332", "claude"),
    "codex": Program("Codex", "@openai/codex", "0.171.0", "codex"),
    "opencode": Program("opencode", "opencode-ai", "1.18.33", "opencode", "@opencode-ai/plugin"),
    "gemini": Program("Gemini CLI", "@google/gemini-cli", "0.61.0", "gemini"),
}


def install(folder: Path, name: str, version: str = "") -> str:
    """Install a program into a folder of its own below `folder`; returns "", or why npm could not.

    Without a version, the pinned one: if npm does not have it, the newest takes its place.
    """
    program = PROGRAMS[name]
    if not version and installed_version(folder, name) == program.version:
        return ""
    error = ""
    for wanted in (version or program.version, *([] if version else ["latest"])):
        error = _npm_install(folder / name, f"{program.package}@{wanted}")
        if not error and program.beside:
            error = _npm_install(beside(folder, name), f"{program.beside}@{wanted}")
        if not error:
            return "" if executable(folder, name).exists() else "the package has no command"
    return error


def _npm_install(place: Path, package: str) -> str:
    place.mkdir(parents=True, exist_ok=True)
    command = ["npm", "install", "--prefix", str(place), "--no-audit", "--no-fund", "--loglevel=error", package]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stderr.strip().partition("\n")[0] if result.returncode else ""


def beside(folder: Path, name: str) -> Path:
    """Return the folder with the package that a program needs beside itself."""
    return folder / f"{name}-beside"


def executable(folder: Path, name: str) -> Path:
    """Return the path of a program's command."""
    return folder / name / "node_modules" / ".bin" / PROGRAMS[name].command


def installed_version(folder: Path, name: str) -> str:
    """Return the installed version of a program, or "" if there is none."""
    package = folder / name / "node_modules" / PROGRAMS[name].package / "package.json"
    has_beside = not PROGRAMS[name].beside or beside(folder, name).exists()
    if not (package.exists() and executable(folder, name).exists() and has_beside):
        return ""
    return str(json.loads(package.read_text(encoding="utf-8"))["version"])
