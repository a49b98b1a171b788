"""A network cable that can be pulled: a TCP proxy in front of a server on this machine.

While it is pulled, bytes wait on their way and no connection ends, as with a real cable: TCP hears of nothing.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

CHUNK = 65536


class Cable:
    """Listens on a free port of 127.0.0.1, and carries each connection to `target_port`."""

    def __init__(self, target_port: int) -> None:
        self._target = ("127.0.0.1", target_port)
        self._is_in = threading.Event()
        self._is_in.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def pull(self) -> None:
        self._is_in.clear()

    def plug(self) -> None:
        self._is_in.set()

    def _accept(self) -> None:
        while True:
            near, _ = self._listener.accept()
            self._is_in.wait()
            far = socket.create_connection(self._target)
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(CHUNK):
                self._is_in.wait()
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
