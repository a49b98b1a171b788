"""Run the demo on a fresh bus file; exit 1 and name the cause if a step fails."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from types import FrameType

from raven import BusObserver, RavenError
from scripts.swarm.agents import Agents, DemoError
from scripts.swarm.conductor import Conductor
from scripts.swarm.screen import Screen


def main(caller: str, bus: str) -> int:
    """Run the demo; `bus` is relative to `caller`, the folder in which the user called scripts/demo."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _exit)
    path = Path(caller, bus)
    try:
        _remove_old(path)
        with Agents(str(path)) as agents:
            signal.signal(signal.SIGINT, agents.interrupt)
            Conductor(Screen(), agents, caller).run()
    except (DemoError, RavenError, OSError) as error:
        print(f"demo: failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndemo: stopped", file=sys.stderr)
        return 130
    return 0


def _remove_old(path: Path) -> None:
    if path.exists():
        # BusObserver refuses a file that is not a bus: the demo deletes nothing else.
        BusObserver(str(path)).close()
    for suffix in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            os.unlink(f"{path}{suffix}")


def _exit(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
