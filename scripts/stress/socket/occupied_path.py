"""Occupied path: files at the path of a socket before its server starts."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from scripts.harness.deadline import DEADLINE_S
from scripts.harness.served import Served
from scripts.stress.trial import Round

_REFUSED = 7


class Occupant(NamedTuple):
    """A file at the path: how to create it, and whether a server may replace it."""

    make: Callable[[Path], object]
    is_replaced: bool


def _listen(path: Path) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(str(path))
    listening.listen()
    return listening


def _listen_as_another(path: Path) -> socket.socket:
    listening = _listen(path)
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)
    return listening


OCCUPANTS: dict[str, Occupant] = {
    "nothing": Occupant(lambda path: None, True),
    "a stale socket": Occupant(lambda path: _listen(path).close(), True),
    "a socket with a listener": Occupant(_listen, False),
    "a socket of another user": Occupant(_listen_as_another, False),
    "a file": Occupant(lambda path: path.write_text("precious"), False),
    "a folder": Occupant(lambda path: path.mkdir(), False),
    "a FIFO": Occupant(os.mkfifo, False),
    "a symlink to nowhere": Occupant(lambda path: path.symlink_to("nowhere"), False),
    "a symlink to the bus": Occupant(lambda path: path.symlink_to("../bus.db"), False),
    "a symlink to itself": Occupant(lambda path: path.symlink_to(path.name), False),
}


def occupied_paths(round: Round, server: Served, times: int = 2) -> None:
    """Start servers at occupied paths: they replace a stale socket, and refuse and keep all other files."""
    for _ in range(times):
        name = round.random.choice(sorted(OCCUPANTS))
        folder = round.folder / f"path-{round.random.randrange(10**9)}"
        folder.mkdir()
        # The folder may be a symlink; the path itself may not.
        (folder / "over").symlink_to(folder)
        path = round.random.choice((folder, folder / "over")) / "s"
        occupant = OCCUPANTS[name].make(path)
        _start(round, server.db, path, name)
        round.count("servers started at an occupied path")
        if isinstance(occupant, socket.socket):
            occupant.close()


def _start(round: Round, db: str, path: Path, name: str) -> None:
    if OCCUPANTS[name].is_replaced:
        with Served(db, path) as started:
            mode = stat.S_IMODE(os.lstat(path).st_mode)
            round.expect(mode == 0o600, f"the socket in the place of {name} should have mode 600, and has {mode:o}")
            started.stop()
            round.expect(not path.exists(), f"the socket in the place of {name} should be removed with its server")
        return
    before = os.lstat(path)
    command = [sys.executable, "-m", "raven", "serve", "--db", db, "--socket", str(path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    is_refusal = ended.returncode == _REFUSED and ended.stderr.startswith("error: ") and not ended.stdout
    round.expect(is_refusal, f"a server should refuse {name}, and ended with {ended.returncode}: {ended.stderr}")
    after = os.lstat(path)
    is_same = (after.st_ino, after.st_mode, after.st_size) == (before.st_ino, before.st_mode, before.st_size)
    round.expect(is_same, f"a server should not change {name}")
