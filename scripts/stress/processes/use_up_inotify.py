"""Use up inotify, and run a bus beside that: `... hoarder DB ADDRESS`.

In a user namespace with few instances where that is allowed, so that nobody else runs short; else all of the user's.
Lines: `hoard` takes all there are, `give back` closes them; `doctor` prints the verdict of the check of inotify;
`listen` begins to listen, in a process of its own that prints each body.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

_CLONE_NEWUSER = 0x10000000
_PR_SET_PDEATHSIG = 1
_INSTANCES = "12"
_libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    db, address = sys.argv[1:]
    if _libc.unshare(_CLONE_NEWUSER) == 0:
        with suppress(OSError):
            Path("/proc/sys/user/max_inotify_instances").write_text(_INSTANCES, encoding="utf-8")
    # The instances shall run out, not the descriptors.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    held: list[int] = []
    listener: subprocess.Popen[bytes] | None = None
    print("ready", flush=True)
    for line in sys.stdin:
        match line.strip():
            case "hoard":
                while (instance := _libc.inotify_init()) >= 0:
                    os.set_inheritable(instance, False)
                    held.append(instance)
                print(len(held), flush=True)
            case "give back":
                while held:
                    os.close(held.pop())
                print("given back", flush=True)
            case "doctor":
                told = subprocess.run(
                    [sys.executable, "-m", "raven", "doctor", "--db", db, "--json"],
                    stdout=subprocess.PIPE,
                    check=False,
                )
                checks = {check["name"]: check["verdict"] for check in json.loads(told.stdout)["checks"]}
                print(checks["inotify"], flush=True)
            case "listen":
                listener = subprocess.Popen(
                    [sys.executable, "-m", "scripts.stress.processes.step_by_step", db, address, "1"],
                    stdin=subprocess.PIPE,
                    preexec_fn=lambda: _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),  # noqa: PLW1509 no threads here
                )
                assert listener.stdin is not None
                listener.stdin.write(b"listen 60\n")
                listener.stdin.flush()
    if listener is not None:
        listener.kill()
        listener.wait()


if __name__ == "__main__":
    main()
