"""The checker: idle until the conductor asks it to count all lines once more."""

from __future__ import annotations

import time

from raven import BusClient
from scripts.swarm.review import count_lines, python_files
from scripts.swarm.worker import LIFETIME_S


def main() -> None:
    """Work until the broadcast `stop`; an answer says for how many seconds the checker was idle."""
    with BusClient("demo", "checker") as bus:
        idle_since = time.monotonic()
        for message in bus.listen(timeout_s=LIFETIME_S):
            idle_s = time.monotonic() - idle_since
            if message.type == "check":
                paths = python_files()
                bus.reply(message, "checked", {"files": len(paths), "lines": count_lines(paths), "idle_s": idle_s})
            elif message.type == "stop":
                break
            idle_since = time.monotonic()


if __name__ == "__main__":
    main()
