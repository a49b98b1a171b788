"""Programs of which only the installation is tried: opencode and Gemini CLI."""

from __future__ import annotations

from scripts.trials.agents.case import Case


def opencode(case: Case) -> None:
    """Install raven into opencode, and ask it for its servers."""
    _list(case, "opencode", ("mcp", "list"))


def gemini(case: Case) -> None:
    """Install raven into Gemini CLI, and ask it for its servers."""
    folders = case.home / ".gemini" / "trustedFolders.json"
    folders.parent.mkdir()
    folders.write_text(f'{{"{case.project}": "TRUST_FOLDER"}}', encoding="utf-8")
    _list(case, "gemini", ("mcp", "list"))


def _list(case: Case, host: str, command: tuple[str, ...]) -> None:
    case.command()
    case.raven("install", host, "--yes")
    result = case.run([case.command(), *command], timeout_s=120)
    shown = result.stdout + result.stderr
    line = next((line for line in shown.splitlines() if "raven" in line), shown[-300:])
    is_connected = "connected" in line.lower() and "disconnected" not in line.lower()
    case.expect(is_connected, f"raven is connected: {line.strip()}")
    case.raven("install", host, "--uninstall", "--yes")
    result = case.run([case.command(), *command], timeout_s=120, check=False)
    case.expect("raven" not in result.stdout + result.stderr, "raven is taken off")
    case.see("connected; taken off without a trace")
