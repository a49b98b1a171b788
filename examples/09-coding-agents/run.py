"""Start three sessions of coding agents on one bus, replace the one that is killed, and show the end of its mail."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from raven import BusObserver

SESSIONS = str(Path(__file__).with_name("sessions.py"))
WITHIN_S = 120
LAST_TASK = 6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="a new folder for the bus (default: in the temp folder)")
    args = parser.parse_args()
    folder = args.folder or Path(tempfile.mkdtemp(prefix="raven-coding-agents-"))
    if args.folder:
        try:
            folder.mkdir()
        except OSError as error:
            parser.error(f"{folder} cannot be made: {error.strerror}")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))  # no process stays behind

    running = {name: start(name, folder) for name in ("verifier", "coder", "architect")}
    try:
        if running["verifier"].wait(WITHIN_S) != -signal.SIGKILL:
            return 1
        running["verifier-2"] = start("verifier-2", folder)
        ends = [running[name].wait(WITHIN_S) for name in ("architect", "coder", "verifier-2")]
    except KeyboardInterrupt:
        return 130
    finally:
        for process in running.values():
            process.kill()
            process.wait()
    for command in ("receipts", "thread"):
        print(f"$ raven {command} {LAST_TASK}", flush=True)
        subprocess.run([sys.executable, "-m", "raven", command, str(LAST_TASK), "--db", folder / "bus.db"], check=True)
    with BusObserver(str(folder / "bus.db")) as bus:
        unfinished = sum(peer.pending for peer in bus.peers())
    print(f"{unfinished} messages unfinished. The same with your own sessions: raven install claude-code codex")
    return 1 if unfinished or any(ends) else 0


def start(name: str, folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, SESSIONS, name, os.fspath(folder)])


if __name__ == "__main__":
    sys.exit(main())
