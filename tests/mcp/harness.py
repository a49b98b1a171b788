"""McpClient: a real `raven mcp` as a child process, and the test as its host."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from scripts.harness.deadline import DEADLINE_S, Deadline

MODERN = "2026-07-28"
LEGACY = "2025-11-25"
_META = "io.modelcontextprotocol/"
# Without the variables by which a host tells its children who they are: the tests may run inside of one.
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV")
RAVEN_MCP = (sys.executable, "-m", "raven", "mcp")


class McpError(Exception):
    """An error response."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(f"{error['code']}: {error['message']}")
        self.code: int = error["code"]
        self.message: str = error["message"]
        self.data: Any = error.get("data")


class ToolError(Exception):
    """The text of a tool result with `isError`."""


def environment(home: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a server: a home of its own, and nothing of the host in which the tests run."""
    passed = {name: value for name, value in os.environ.items() if name in _PASSED_ON or name.startswith("COVERAGE_")}
    return {**passed, "HOME": str(home), **(more or {})}


class McpClient:
    """A `raven mcp` of its own, in a folder of its own; it ends with the `with` block.

    >>> with McpClient(tmp_path, "--as", "architect:pay", db=db) as client:
    ...     client.start()
    ...     client.call("send", to="verifier:pay", body="ready")

    `folder` is the working folder, and the home unless `home` is given. `name` is the host's name for itself. `env` is
    added to a clean environment. `meta` is sent with each request. Errors of the server stay in `errors()`.
    """

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        db: str | None = None,
        name: str = "test-host",
        env: Mapping[str, str] | None = None,
        home: Path | None = None,
        meta: Mapping[str, Any] | None = None,
        ids: Iterator[Any] | None = None,
        command: Iterable[str] = RAVEN_MCP,
    ) -> None:
        self.name = name
        self.meta = dict(meta or {})
        self.is_modern = False
        self.notifications: list[dict[str, Any]] = []
        self._responses: list[dict[str, Any]] = []
        self._ids = count(1) if ids is None else ids
        self._received = b""
        self._errors = (folder / f".stderr-{os.urandom(4).hex()}").open("w+b")
        options = () if db is None else ("--db", db)
        self.process = subprocess.Popen(
            [*command, *options, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            bufsize=0,
            cwd=folder,
            env=environment(home or folder, env),
            process_group=0,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self.process.pid

    # The host's side of the protocol.

    def start(self, *, modern: bool = False, protocol: str = LEGACY) -> dict[str, Any]:
        """Begin as a host does, in one era or the other; return the result of `initialize` or `server/discover`."""
        self.is_modern = modern
        if modern:
            return self.request("server/discover")
        capabilities: dict[str, Any] = {}
        info = {"name": self.name, "version": "1"}
        params = {"protocolVersion": protocol, "capabilities": capabilities, "clientInfo": info}
        result = self.request("initialize", params)
        self.notify("notifications/initialized")
        return result

    def call(self, tool: str, /, **arguments: Any) -> Any:
        """Call a tool, and return the JSON value of its text; raises ToolError with the text of an error."""
        return self.value(self.begin(tool, **arguments))

    def begin(self, tool: str, /, **arguments: Any) -> Any:
        """Call a tool without waiting for its result; return the id of the call."""
        return self.send("tools/call", {"name": tool, "arguments": arguments})

    def value(self, id: Any, timeout_s: float = DEADLINE_S) -> Any:
        """Wait for the result of a call, and return the JSON value of its text; raises ToolError."""
        result = self.response(id, timeout_s)
        assert [content["type"] for content in result["content"]] == ["text"], result
        text = result["content"][0]["text"]
        if result.get("isError"):
            raise ToolError(text)
        return json.loads(text)

    def request(self, method: str, params: Mapping[str, Any] | None = None, timeout_s: float = DEADLINE_S) -> Any:
        """Send a request and return its result; raises McpError."""
        return self.response(self.send(method, params), timeout_s)

    def send(self, method: str, params: Mapping[str, Any] | None = None, id: Any = None) -> Any:
        """Send a request without waiting for its response; return its id."""
        id = next(self._ids) if id is None else id
        message: dict[str, Any] = {"jsonrpc": "2.0", "id": id, "method": method, "params": {**(params or {})}}
        meta = {**self._own_meta(), **self.meta, **message["params"].get("_meta", {})}
        if meta:
            message["params"]["_meta"] = meta
        self.write(message)
        return id

    def _own_meta(self) -> dict[str, Any]:
        if not self.is_modern:
            return {}
        info = {"name": self.name, "version": "1"}
        return {_META + "protocolVersion": MODERN, _META + "clientCapabilities": {}, _META + "clientInfo": info}

    def response(self, id: Any, timeout_s: float = DEADLINE_S) -> Any:
        """Wait for the response to a request, and return its result; raises McpError."""
        self._read_until(lambda: self._find(id) is not None, f"a response to {id}", timeout_s)
        response = self._take(id)
        if "error" in response:
            raise McpError(response["error"])
        return response["result"]

    def has_response(self, id: Any) -> bool:
        """Whether the response to a request has come."""
        self.read_now()
        return self._find(id) is not None

    def unclaimed(self) -> list[dict[str, Any]]:
        """Return the responses that have come and that no call has waited for, and forget them."""
        self.read_now()
        responses, self._responses = self._responses, []
        return responses

    def _find(self, id: Any) -> dict[str, Any] | None:
        found = (one for one in self._responses if type(one["id"]) is type(id) and one["id"] == id)
        return next(found, None)

    def _take(self, id: Any) -> dict[str, Any]:
        response = self._find(id)
        assert response is not None
        self._responses.remove(response)
        return response

    def notify(self, method: str, params: Mapping[str, Any] | None = None) -> None:
        """Send a notification."""
        self.write({"jsonrpc": "2.0", "method": method, **({} if params is None else {"params": params})})

    def notification(self, method: str, timeout_s: float = DEADLINE_S) -> dict[str, Any]:
        """Wait for a notification of the server, and return its params."""

        def found() -> list[dict[str, Any]]:
            return [one for one in self.notifications if one["method"] == method]

        self._read_until(lambda: bool(found()), f"a notification {method}", timeout_s)
        first = found()[0]
        self.notifications.remove(first)
        params: dict[str, Any] = first.get("params", {})
        return params

    # Lines, for tests of the wire.

    def write(self, message: Any) -> None:
        """Send one message as a line."""
        self.write_bytes(json.dumps(message).encode() + b"\n")

    def write_bytes(self, data: bytes) -> None:
        """Send bytes as they are."""
        assert self.process.stdin
        view = memoryview(data)
        while view:
            view = view[self.process.stdin.write(view) :]

    def error(self, timeout_s: float = DEADLINE_S) -> McpError:
        """Wait for an error response without an id, and return the error."""
        self._read_until(lambda: self._find(None) is not None, "an error without an id", timeout_s)
        return McpError(self._take(None)["error"])

    def read_now(self) -> None:
        """Take in all lines so far, without waiting."""
        assert self.process.stdout
        while select.select([self.process.stdout], [], [], 0)[0] and self._fill():
            pass

    def _read_until(self, condition: Callable[[], bool], what: str, timeout_s: float) -> None:
        assert self.process.stdout
        poller = select.poll()
        poller.register(self.process.stdout, select.POLLIN)
        deadline = Deadline(timeout_s)
        while not condition():
            assert deadline.poll(poller), f"{what} did not come within {timeout_s:g} s; {self.errors()}"
            assert self._fill(), f"the server ended before {what}; {self.errors()}"

    def _fill(self) -> bool:
        """Read once; returns False at the end of the server's output."""
        assert self.process.stdout
        data = os.read(self.process.stdout.fileno(), 1 << 16)
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            assert message["jsonrpc"] == "2.0", line
            if "method" in message:
                assert "id" not in message, f"a server has no requests: {line.decode()}"
                self.notifications.append(message)
            else:
                self._responses.append(message)
        return bool(data)

    # The process.

    def errors(self) -> str:
        """Return what the server has written to stderr."""
        return os.pread(self._errors.fileno(), 1 << 20, 0).decode()

    def close_input(self) -> None:
        """Close the server's stdin, as a host does to end it."""
        assert self.process.stdin
        self.process.stdin.close()

    def finish(self, timeout_s: float = DEADLINE_S) -> int:
        """End the server as a host does, and return its exit code."""
        self.close_input()
        return self.wait(timeout_s)

    def wait(self, timeout_s: float = DEADLINE_S) -> int:
        """Wait for the end of the server, and return its exit code."""
        return self.process.wait(timeout_s)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send the server a signal: by default one that it cannot notice, and then wait for its end."""
        self.process.send_signal(number)
        if number == signal.SIGKILL:
            self.process.wait()

    def close(self) -> None:
        """End the server, at once if it does not end by itself; a second call does nothing."""
        with suppress(BrokenPipeError, subprocess.TimeoutExpired):
            self.finish(2)
        self.process.kill()
        self.process.wait()
        assert self.process.stdout
        self.process.stdout.close()
        self._errors.close()
