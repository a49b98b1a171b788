"""Server: the scripted model as an HTTP server on loopback, which keeps each request with its time."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self

from scripts.harness.deadline import wait_until
from scripts.trials.agents.model.turn import Answer, Model, Request, Say


class Api(NamedTuple):
    """The API of one maker: the path of its requests, and the conversion of requests and answers."""

    path: str
    read: Callable[[float, Mapping[str, Any]], Request]
    events: Callable[[Mapping[str, Any], Answer], Iterator[Mapping[str, Any]]]
    whole: Callable[[Mapping[str, Any], Answer], Mapping[str, Any]]


class ModelServer:
    """Answers requests by `model`, a function that a case may replace; `requests` has those of conversations.

    A request without tools is answered with a fixed text and kept in `asides`. `strays` has the paths of all other
    HTTP requests, which are answered with 404.
    """

    def __init__(self, api: Api, faults: list[str] | None = None) -> None:
        self.api = api
        self.model: Model = lambda request: Say("ok")
        self.requests: list[Request] = []
        self.asides: list[Request] = []
        self.strays: list[str] = []
        self.faults = [] if faults is None else faults
        self.has_ended_turn = True
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def wait_for(
        self, matches: Callable[[Request], object], what: str, after: int = 0, timeout_s: float = 30
    ) -> Request:
        """Return the first request that matches, of those after the first `after`; AssertionError if none comes."""
        return wait_until(
            lambda: next((request for request in self.requests[after:] if matches(request)), None), what, timeout_s
        )

    def answer(self, body: Mapping[str, Any]) -> Answer:
        """Keep a request, and return the model's answer to it."""
        request = self.api.read(time.monotonic(), body)
        if not request.tools:
            self.asides.append(request)
            return Say("{}")
        self.requests.append(request)
        self.has_ended_turn = False
        try:
            answer = self.model(request)
            self.has_ended_turn = isinstance(answer, Say)
            return answer
        except Exception as error:
            self.faults.append(f"the scripted model failed: {error!r}")
            return Say("The scripted model has failed.")

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers.get("content-length") or 0))
                path = self.path.partition("?")[0]
                if path == server.api.path:
                    body = json.loads(content)
                    answer = server.answer(body)
                    if body.get("stream") or "alt=sse" in self.path:
                        events = server.api.events(body, answer)
                        self._write("text/event-stream", "".join(map(_event, events)).encode())
                    else:
                        self._write("application/json", json.dumps(server.api.whole(body, answer)).encode())
                elif path.endswith("/count_tokens"):
                    self._write("application/json", b'{"input_tokens": 1000}')
                else:
                    self._refuse()

            def do_GET(self) -> None:
                self._refuse()

            def do_HEAD(self) -> None:
                self._refuse()

            def _refuse(self) -> None:
                server.strays.append(f"{self.command} {self.path}")
                self._write("application/json", b'{"error": {"type": "not_found_error", "message": "none"}}', 404)

            def _write(self, kind: str, content: bytes, status: int = 200) -> None:
                with suppress(OSError):  # the program has given the request up
                    self.send_response(status)
                    self.send_header("content-type", kind)
                    self.send_header("content-length", str(len(content)))
                    self.end_headers()
                    if self.command != "HEAD":
                        self.wfile.write(content)

            def log_message(self, format: str, *arguments: object) -> None:
                """Log nothing: the lists of the server have it."""

        return Handler


def _event(event: Mapping[str, Any]) -> str:
    name = f"event: {event['type']}\n" if "type" in event else ""
    return f"{name}data: {json.dumps(event)}\n\n"
