"""Namespace: a place of the kernel with no network but loopback, whose processes all end with the trial."""

from __future__ import annotations

import os
import shutil
import subprocess

# With the first process of the namespace ends every other, daemons as well.
_PARTS = ("--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child")


class UnavailableError(Exception):
    """This machine makes no such namespace; the text says why."""


def enter_command() -> list[str]:
    """Return the command that runs another in a new namespace; raises UnavailableError."""
    missing = [name for name in ("unshare", "ip") if not shutil.which(name)]
    if missing:
        raise UnavailableError(f"the commands {', '.join(missing)} are missing")
    command = ["unshare", *([] if os.geteuid() == 0 else ["--map-root-user"]), *_PARTS]
    result = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
    if result.returncode:
        raise UnavailableError(f"unshare failed: {result.stderr.strip()}")
    return command


def bring_up_loopback() -> None:
    """Bring loopback up; raises UnavailableError if there is any other interface that is up."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    shown = subprocess.run(["ip", "-oneline", "link", "show", "up"], capture_output=True, text=True, check=True).stdout
    others = [line for line in shown.splitlines() if ": lo:" not in line]
    if others:
        raise UnavailableError(f"the namespace has another interface: {others[0]}")
