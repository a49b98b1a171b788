"""Use up the inotify instances, and run a bus without them: `... use_up_inotify DB ADDRESS`.

If the system allows it, it uses a user namespace with few instances, so that other programs keep theirs; else it uses
up all instances of the user. Input lines: `use up` opens all instances, and `release` closes them. `doctor` prints the
verdict of the inotify check, and `listen` starts a process that listens and prints each body.
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
    # The instances should run out before the descriptors.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    instances: list[int] = []
    listener: subprocess.Popen[bytes] | None = None
    print("ready", flush=True)
    for line in sys.stdin:
        match line.strip():
            case "use up":
                while (instance := _libc.inotify_init()) >= 0:
                    os.set_inheritable(instance, False)
                    instances.append(instance)
                print(len(instances), flush=True)
            case "release":
                while instances:
                    os.close(instances.pop())
                print("released", flush=True)
            case "doctor":
                result = subprocess.run(
                    [sys.executable, "-m", "raven", "doctor", "--db", db, "--json"],
                    stdout=subprocess.PIPE,
                    check=False,
                )
                checks = {check["name"]: check["verdict"] for check in json.loads(result.stdout)["checks"]}
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
