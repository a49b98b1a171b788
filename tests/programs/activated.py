"""Become `raven serve` with a descriptor passed as systemd passes it: `activated.py FD COUNT PID OPTIONS...`.

FD is "none" to pass nothing; PID is "own" for the one that the server will have.
"""

import os
import sys

descriptor, count, pid, *options = sys.argv[1:]
if descriptor == "none":
    os.closerange(3, 100)
else:
    if descriptor != "3":
        os.dup2(int(descriptor), 3)
    os.set_inheritable(3, True)
kept = {name: value for name, value in os.environ.items() if not name.startswith("RAVEN")}
passed = {"LISTEN_FDS": count, "LISTEN_PID": str(os.getpid()) if pid == "own" else pid}
os.execve(sys.executable, [sys.executable, "-m", "raven", "serve", *options], {**kept, **passed})
