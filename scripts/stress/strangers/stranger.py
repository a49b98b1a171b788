"""Stranger: another user, who puts files, folders, pipes, links, locks and sockets beside the bus, and reads all."""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import socket
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from scripts.stress.strangers.owner import ADDRESS, SECRET

_COMPANIONS = ("-wal", "-shm", "-journal", "-lock", "-turn", ".sock", ".sock.lock", "-bells")
_BELLS = ("", "/watch.lock", f"/{ADDRESS}", f"/{ADDRESS}/1-spy", "/*", "/*/1-spy", "/boss:s/1-spy")
_MAX_HELD_S = 0.05


class Stranger:
    """Attacks the bus `db` until the deadline; `attack` returns counts, and what the stranger has learned."""

    def __init__(self, db: str, precious: str, seed: int, deadline: float) -> None:
        self._db = db
        self._precious = precious
        self._random = random.Random(seed)
        self._deadline = deadline
        self._counts: Counter[str] = Counter()
        self._learned: set[str] = set()
        self._open: list[int | socket.socket] = []

    def attack(self) -> dict[str, Any]:
        """Plant, listen and read at random moments, remove it all again, and return the results."""
        os.umask(0)
        while time.monotonic() < self._deadline:
            planted = [self._plant() for _ in range(self._random.randint(1, 3))]
            time.sleep(self._random.random() * _MAX_HELD_S)
            self._listen()
            self._read_all()
            for path in filter(None, planted):
                self._remove(path)
            time.sleep(self._random.random() * 0.01)
        for suffix in _COMPANIONS:
            self._remove(self._db + suffix)
        return {"counts": self._counts, "learned": sorted(self._learned)}

    def _plant(self) -> str | None:
        """Make something at one of the paths beside the bus, if nothing is there."""
        path = self._db + self._random.choice(_COMPANIONS)
        if path.endswith("-bells"):
            path += self._random.choice(_BELLS)
        if self._random.random() < 0.15:
            path = os.path.join(os.path.dirname(self._db), "raven.yaml")
        name, make = self._random.choice(self._makers())
        try:
            if "-bells/" in path:
                os.makedirs(os.path.dirname(path), 0o777, exist_ok=True)
            if not os.path.lexists(path):
                make(path)
        except OSError:
            self._counts["attacks that the system refused"] += 1
            return None
        self._counts[f"{name} planted"] += 1
        return path

    def _makers(self) -> list[tuple[str, Callable[[str], None]]]:
        return [
            ("files", self._file),
            ("folders", lambda path: os.mkdir(path, 0o777)),
            ("pipes", self._pipe),
            ("links", lambda path: os.symlink(self._precious, path)),
            ("links", lambda path: os.symlink("/dev/zero", path)),
            ("links", lambda path: os.link(self._db, path)),
            ("sockets", self._listening_socket),
            ("locks", self._lock),
        ]

    def _file(self, path: str) -> None:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        text = f"db: {os.path.dirname(self._db)}/evil.db\n" if path.endswith(".yaml") else ""
        os.write(descriptor, text.encode() or self._random.randbytes(self._random.choice((0, 100, 8192))))
        os.close(descriptor)

    def _pipe(self, path: str) -> None:
        os.mkfifo(path, 0o666)
        self._open.append(os.open(path, os.O_RDWR | os.O_NONBLOCK))

    def _listening_socket(self, path: str) -> None:
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._open.append(listening)
        listening.bind(path)
        listening.listen()
        listening.setblocking(False)

    def _lock(self, path: str) -> None:
        """Lock the folder, or a file that is there."""
        for target in (os.path.dirname(path), path):
            descriptor = os.open(target, os.O_RDONLY | os.O_NONBLOCK)
            self._open.append(descriptor)
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _listen(self) -> None:
        """Take what came through the pipes and sockets, and let go of them."""
        for one in self._open:
            with suppress(OSError):
                if isinstance(one, socket.socket):
                    connection, _ = one.accept()
                    connection.setblocking(False)
                    if connection.recv(1):
                        self._learned.add("a client sent to the stranger's socket")
                elif os.read(one, 100):
                    self._learned.add("a doorbell of the stranger was rung")
        for one in self._open:
            one.close() if isinstance(one, socket.socket) else os.close(one)
        self._open.clear()

    def _read_all(self) -> None:
        """Read every file in the folder that can be read, and look for the mail."""
        for folder, _, names in os.walk(os.path.dirname(self._db)):
            for name in names:
                with suppress(OSError):
                    descriptor = os.open(os.path.join(folder, name), os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
                    self._counts["files read"] += 1
                    with os.fdopen(descriptor, "rb") as file:
                        if SECRET.encode() in file.read(1 << 24):
                            self._learned.add(f"the mail was read in {name}")

    def _remove(self, path: str) -> None:
        with suppress(OSError):
            if os.lstat(path).st_uid != os.geteuid():
                return
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path, ignore_errors=True)
            else:
                os.unlink(path)
