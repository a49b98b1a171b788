"""The HTTP front of a service in a thread, with a small program behind it, and a client that speaks in bare bytes."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from typing import Any, NamedTuple, Self

from raven.host.service import Service
from raven_http.server.binding import Target
from raven_http.server.front import HttpFront
from scripts.harness.deadline import DEADLINE_S


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Wire:
    """A connection; each operation has a deadline."""

    def __init__(self, address: str) -> None:
        unix = address.startswith("unix:")
        self.socket = socket.socket(socket.AF_UNIX if unix else socket.AF_INET, socket.SOCK_STREAM)
        self.socket.settimeout(DEADLINE_S)
        host, _, port = address.rstrip("/").removeprefix("http://").rpartition(":")
        self.host = "localhost" if unix else f"{host}:{port}"
        self.socket.connect(address.removeprefix("unix:") if unix else (host, int(port)))
        self._read = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def write(self, data: bytes) -> None:
        self.socket.sendall(data)

    def request(self, path: str, body: bytes | None = None, *headers: str) -> bytes:
        """Return a request as bytes: a POST if it has a body."""
        lines = [f"{'GET' if body is None else 'POST'} {path} HTTP/1.1", f"Host: {self.host}", *headers]
        if body is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        return "\r\n".join([*lines, "", ""]).encode() + (body or b"")

    def ask(self, path: str, body: bytes | None = None, *headers: str) -> Answer:
        self.write(self.request(path, body, *headers))
        answer = self.answer()
        assert answer is not None, "no answer"
        return answer

    def head(self) -> tuple[int, dict[str, str]] | None:
        """Return the status and the headers of the next answer; None at the end of the connection."""
        line = self._read.readline()
        if not line:
            return None
        headers = {}
        while field := self._read.readline().strip():
            name, _, value = field.decode().partition(": ")
            headers[name.lower()] = value
        return int(line.split()[1]), headers

    def answer(self) -> Answer | None:
        """Return the next answer; None at the end of the connection."""
        head = self.head()
        return head and Answer(*head, self._read.read(int(head[1]["content-length"])))

    def rest(self) -> bytes:
        """Return all that comes up to the end of the connection, also if that is a reset."""
        try:
            return self._read.read()
        except ConnectionResetError:
            return b""

    def close(self) -> None:
        self._read.close()
        self.socket.close()


class FrontHere:
    """A service with the front of HTTP, and with others that `add` makes of it; serving when this is made."""

    def __init__(
        self, db: str, *, app: Any = None, address: str = "127.0.0.1:0", add: Any = None, **options: Any
    ) -> None:
        self.service = Service(db)
        make = HttpFront if app is None else _fronted(app)
        self.front = make(self.service, Target.parse(address), use_token=False, **options)
        self.service.fronts.append(self.front)
        if add is not None:
            self.service.fronts.append(add(self.service))
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self.service.run(ready.set)), daemon=True)
        self._thread.start()
        assert ready.wait(DEADLINE_S), "it does not listen"

    def connect(self) -> Wire:
        return Wire(self.front.address)

    def do(self, action: Callable[[], Any]) -> Any:
        """Call a function on the event loop, and return its result."""

        async def act() -> Any:
            return action()

        return asyncio.run_coroutine_threadsafe(act(), self.service.loop).result(DEADLINE_S)

    def counts(self) -> tuple[int, int, int]:
        """Return how many connections make requests, stream events, and linger after a refusal."""
        front = self.front
        return self.do(lambda: (len(front._requesting), len(front._streams), len(front._lingering)))

    def close(self) -> None:
        if self._thread.is_alive():
            self.service.loop.call_soon_threadsafe(self.service.stop)
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive(), "it has not stopped"


def _fronted(app: Any) -> type[HttpFront]:
    """Return the front with another program than the bridge: what it serves is not its concern."""

    class Fronted(HttpFront):
        def bind(self) -> None:
            super().bind()
            self.app = app

        def stop(self) -> None:
            app.stop()
            super().stop()

    return Fronted
