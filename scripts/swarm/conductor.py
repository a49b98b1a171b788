"""The conductor: sends every Python file of this checkout to the reviewers, and lets them go home when all is done."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from raven import BusClient

_START_DEADLINE_S = 30
SKIPPED = {".venv", ".venv-bench", "build", "dist"}


def main(reviewers: int) -> None:
    files = python_files()
    with BusClient("demo", "conductor") as bus:
        wait_for_reviewers(bus, reviewers)
        bus.send("editor:demo", "assignment", {"files": len(files)}, urgency="blocking")
        bus.send_many([{"to": "reviewer:demo", "type": "review", "body": {"path": path}} for path in files])
        for message in bus.listen(timeout_s=100):
            if message.type == "published":
                break
        # The reviewers share one address, so each of them takes one of these.
        bus.send_many([{"to": "reviewer:demo", "type": "stop", "urgency": "fyi"}] * reviewers)


def wait_for_reviewers(bus: BusClient, count: int) -> None:
    """Wait until all reviewers hang at their doorbells, so that the race for files is a fair one."""
    deadline = time.monotonic() + _START_DEADLINE_S
    while sum(peer.waiting for peer in bus.peers() if peer.role == "reviewer") < count:
        if time.monotonic() > deadline:
            raise TimeoutError(f"fewer than {count} reviewers came within {_START_DEADLINE_S} s")
        time.sleep(0.02)


def python_files() -> list[str]:
    """Return the Python files that git knows here, or, outside of git, those in the tree."""
    listed = subprocess.run(["git", "ls-files", "*.py"], capture_output=True, text=True, check=False)
    if listed.returncode == 0 and listed.stdout:
        return [path for path in listed.stdout.splitlines() if Path(path).is_file()]
    return sorted(str(path) for path in Path().rglob("*.py") if not SKIPPED & set(path.parts))


if __name__ == "__main__":
    main(int(sys.argv[1]))
