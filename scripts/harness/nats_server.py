"""NATS server: nats-server with JetStream, alone or as a cluster, as processes that a test may kill and rewind."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Self

from scripts.harness.deadline import wait_until
from scripts.harness.program import memory_mib

_LOCAL = "127.0.0.1"


def binaries() -> dict[str, str]:
    """Return the paths of the nats-servers here: `newest` is that of the Python environment, `oldest` of the system."""
    places = {"newest": [os.path.dirname(sys.executable)], "oldest": ["/usr/sbin", "/usr/local/bin", "/usr/bin"]}
    found = {}
    for age, folders in places.items():
        paths = [os.path.join(folder, "nats-server") for folder in folders]
        usable = [path for path in paths if os.access(path, os.X_OK)]
        found.update({age: usable[0]} if usable else {})
    return found


def free_port() -> int:
    """Return a port of 127.0.0.1 that no process listens on now."""
    with socket.socket() as listener:
        listener.bind((_LOCAL, 0))
        return int(listener.getsockname()[1])


class NATSServer:
    """A nats-server on 127.0.0.1, with a store and a log in a folder; the constructor waits until it takes connections.

    `config` is text of its configuration beside that of the port and the store: users, TLS, a cluster, leaf nodes. The
    server ends with the `with` block.
    """

    def __init__(
        self,
        folder: Path,
        binary: str,
        config: str = "",
        name: str = "n1",
        jetstream: bool = True,
        store_bytes: int = 0,
        starts: bool = True,
    ) -> None:
        self.folder, self.binary, self.name = folder, binary, name
        self.port = free_port()
        self.config = config
        self._jetstream = jetstream
        self._store_bytes = store_bytes
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        if starts:
            self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The URL for clients, without user and password."""
        return f"nats://{_LOCAL}:{self.port}"

    @property
    def store(self) -> Path:
        """The folder in which JetStream keeps its streams."""
        return self.folder / "store"

    @property
    def pid(self) -> int:
        """The id of the process; the server must run."""
        assert self.process, f"{self.name} does not run"
        return self.process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process runs."""
        return self.process is not None and self.process.poll() is None

    def memory_mib(self) -> float:
        """Return the resident memory of the process; 0 if it is unknown."""
        return memory_mib(self.pid)

    def start(self, waits: bool = True) -> None:
        """Start the server on its port, with its store as it is now; AssertionError if it does not listen in time."""
        assert not self.is_running, f"{self.name} runs already"
        limit = f", max_file_store: {self._store_bytes}" if self._store_bytes else ""
        jetstream = f'jetstream {{ store_dir: "{self.store}"{limit} }}' if self._jetstream else ""
        path = self.folder / "nats.conf"
        path.write_text(
            f'listen: "{_LOCAL}:{self.port}"\nserver_name: "{self.name}"\n{jetstream}\n{self.config}\n',
            encoding="utf-8",
        )
        with open(self.folder / "log", "ab") as log:
            # In its own process group, so that Ctrl-C reaches only this process, which then ends the server.
            self.process = subprocess.Popen(
                [self.binary, "-c", str(path)], stdout=log, stderr=log, process_group=0, cwd=self.folder
            )
        if waits:
            self.wait_until_it_listens()

    def wait_until_it_listens(self) -> None:
        """Wait until the server takes connections; AssertionError if it has ended, or does not in time."""

        def listens() -> bool:
            assert self.is_running, f"{self.name} has ended: {self.log()[-1000:]}"
            with socket.socket() as client:
                return client.connect_ex((_LOCAL, self.port)) == 0

        wait_until(listens, f"{self.name} listens")

    def log(self) -> str:
        """Return what the server has logged so far."""
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")

    def pause(self) -> None:
        """Stop the process with SIGSTOP, until `resume` or `kill`; it holds its connections and answers nothing."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED)

    def resume(self) -> None:
        """Let a paused process go on."""
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """Kill the process with SIGKILL, and reap it; a second call does nothing."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self) -> None:
        """End the process as its service manager would, and wait for its end."""
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(20)
            self.process = None

    def copy_store(self) -> Path:
        """Copy the store as it is now, while the server may run, and return the copy: for `roll_back`."""
        copy = self.folder / "store.copy"
        shutil.rmtree(copy, ignore_errors=True)
        # Files come and go while they are copied; what a real disk would have after a power cut is no better.
        for source, folders, files in os.walk(self.store):
            target = copy / os.path.relpath(source, self.store)
            target.mkdir(parents=True, exist_ok=True)
            for file in files:
                try:
                    shutil.copy2(os.path.join(source, file), target / file)
                except FileNotFoundError:
                    continue
            folders.sort()
        return copy

    def roll_back(self, copy: Path) -> None:
        """Replace the store by an older copy, as a power cut may; the server must not run."""
        self.wipe()
        shutil.copytree(copy, self.store)

    def wipe(self) -> None:
        """Delete the store, as the loss of a disk does; the server must not run."""
        assert not self.is_running, f"{self.name} runs"
        shutil.rmtree(self.store, ignore_errors=True)

    def close(self) -> None:
        """Kill the server; a second call does nothing."""
        self.kill()


class NATSCluster:
    """Several nats-servers with JetStream that form one cluster; it ends with the `with` block."""

    def __init__(self, folder: Path, binary: str, size: int = 3, config: str = "") -> None:
        routes = [free_port() for _ in range(size)]
        urls = ", ".join(f'"nats://{_LOCAL}:{port}"' for port in routes)
        self.servers = [
            NATSServer(
                folder / f"n{n}",
                binary,
                f'cluster {{ name: raven, listen: "{_LOCAL}:{port}", routes: [{urls}] }}\n{config}',
                name=f"n{n}",
                starts=False,
            )
            for n, port in enumerate(routes, 1)
        ]
        for server in self.servers:
            server.start(waits=False)
        for server in self.servers:
            server.wait_until_it_listens()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def urls(self) -> list[str]:
        """The URLs of all servers."""
        return [server.url for server in self.servers]

    def named(self, name: str) -> NATSServer:
        """Return the server of this name, as a stream names its leader."""
        return next(server for server in self.servers if server.name == name)

    def close(self) -> None:
        """Kill all servers; a second call does nothing."""
        for server in self.servers:
            server.close()
