"""A relay before a server's socket, which keeps one answer until it is told to pass it on."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Self

from tests.support import DEADLINE_S


class Relay:
    """Relays the connections to a socket of its own; it keeps the first answer that holds `text`, and all behind it."""

    def __init__(self, server_path: str, text: bytes) -> None:
        self._text = text
        self.path = f"{server_path}.relay"
        self._server_path = server_path
        self._has_answer, self._may_pass = threading.Event(), threading.Event()
        self._has_passed, self._has_ended = threading.Event(), threading.Event()
        self._open: list[socket.socket] = []
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(self.path)
        self._listening.listen()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for one in [self._listening, *self._open]:
            _shut(one)
        self._may_pass.set()
        self._thread.join(DEADLINE_S)
        self._listening.close()

    def wait_for_answer(self) -> None:
        assert self._has_answer.wait(DEADLINE_S), f"the server has not answered {self._text!r}"

    def pass_on(self, *, has_ended: bool = False) -> None:
        """Pass the answer on, and with `has_ended` also the end of the server's connection; both are written then."""
        self._may_pass.set()
        assert (self._has_ended if has_ended else self._has_passed).wait(DEADLINE_S), "the relay has not passed it on"

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.socket(socket.AF_UNIX)
                self._open += [client, server]
                server.connect(self._server_path)
                for run in (self._requests, self._answers):
                    threading.Thread(target=run, args=(client, server), daemon=True).start()

    def _requests(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(1 << 16):
                server.sendall(data)
        _shut(server)

    def _answers(self, client: socket.socket, server: socket.socket) -> None:
        is_kept = False
        with suppress(OSError), server.makefile("rb") as lines:
            for line in lines:
                if self._text in line and not self._has_answer.is_set():
                    is_kept = True
                    self._has_answer.set()
                    self._may_pass.wait(DEADLINE_S)
                client.sendall(line)
                if is_kept:
                    self._has_passed.set()
        _shut(client)
        if is_kept:
            self._has_ended.set()


def _shut(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
