"""A story of commands, told on the file and through a helper: what they print must be the same."""

from __future__ import annotations

import re
from pathlib import Path

from tests.cli.shell import Shell
from tests.serving import Served

Result = tuple[int, str, str]
# Commands, each with its stdin.
Story = list[tuple[tuple[str, ...], str]]

# What differs from one telling to the next.
_DIFFERENT = (
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+(Z|\+00:00)|\d+s ago"), "TIME"),
    (re.compile(r"\S*\.db(\.sock)?\b"), "PATH"),
    (re.compile(r'(lease"?[=:])\d+'), r"\1TOKEN"),
    (re.compile(r"\+[0-9a-f]{16}:"), "+PRIVATE:"),
)


def steps(story: Story) -> list[str]:
    """Return the name of each step of a story."""
    return [f"{number}: {' '.join(arguments)}" for number, (arguments, _) in enumerate(story)]


def tell_both_ways(folder: Path, story: Story) -> dict[str, dict[str, Result]]:
    """Tell a story on the file, and through a helper: by flag and by environment in turns."""
    for way in ("file", "socket"):
        (folder / way).mkdir()
    direct, remote = Shell(folder / "file"), Shell(folder / "socket")
    served = Served(str(remote.folder / "x.db"))
    try:
        found = {"file": _tell(direct, story, ""), "socket": _tell(remote, story, served.path)}
    finally:
        served.close()
    assert not Path(remote.db).exists(), "the file was used, not the socket"
    return found


def _tell(shell: Shell, story: Story, socket: str) -> dict[str, Result]:
    results = {}
    for number, (name, (arguments, stdin)) in enumerate(zip(steps(story), story, strict=True)):
        if number % 3:
            done = shell.run(*arguments, stdin=stdin, RAVEN_SOCKET=socket)
        else:
            done = shell.run(*arguments, *(["--socket", socket] if socket else []), stdin=stdin)
        results[name] = (done.returncode, _without_differences(done.stdout), _without_differences(done.stderr))
    assert not (shell.folder / "pwned").exists()
    return results


def _without_differences(text: str) -> str:
    for pattern, name in _DIFFERENT:
        text = pattern.sub(name, text)
    return text
