"""Connection: a server of the Model Context Protocol as a child, and prebuilt lines on its pipes.

A client of a library would take more CPU time than the server that it measures.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from scripts.benchmarks.metric import percentile
from scripts.benchmarks.send import RECIPIENT
from scripts.harness.program import cpu_s, memory_mib

_DEADLINE_S = 30
_SDK_SERVER = str(Path(__file__).with_name("sdk_server.py"))
_CLIENT = {"name": "claude-code", "version": "bench"}
SESSION = "bench-session"


def raven_command(db: Path | str, address: str = RECIPIENT) -> list[str]:
    """Return the command of raven's server, as a host starts it after an installation."""
    return [str(Path(sys.executable).with_name("raven")), "mcp", "--db", str(db), "--as", address, "--no-push"]


def sdk_command(*place: Path | str) -> list[str]:
    """Return the command of the SDK's server, with the bus and the address if its tools use a bus."""
    # -P: the modules of its folder must not stand in for those of the SDK.
    return [sys.executable, "-P", _SDK_SERVER, *map(str, place)]


def environment(home: Path) -> dict[str, str]:
    """Return the environment of a server: a home of its own, and one session of an agent."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAVEN", "CLAUDE"))}
    return {**kept, "HOME": str(home), "CLAUDE_CODE_SESSION_ID": SESSION}


def request(method: str, params: Any = None, id: int | None = 1) -> bytes:
    """Return a request as a line, or a notification without an id."""
    message = {"jsonrpc": "2.0", "id": id, "method": method, "params": params or {}}
    if id is None:
        del message["id"]
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def tool_call(name: str, **arguments: Any) -> bytes:
    """Return the request that calls a tool, as a line."""
    return request("tools/call", {"name": name, "arguments": arguments})


class McpServer:
    """A server process; inside the `with` block it has answered `initialize`, and the answer is `greeting`."""

    def __init__(self, command: Sequence[str], home: Path) -> None:
        self._command = command
        self._home = home
        self._unread = b""

    def __enter__(self) -> Self:
        # In its own process group, so that Ctrl-C reaches only this process, which then ends the other.
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            cwd=self._home,
            env=environment(self._home),
            process_group=0,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin.fileno(), self._process.stdout.fileno()
        self._poller = select.poll()
        self._poller.register(self._stdout, select.POLLIN)
        try:
            self.greeting = self.ask(
                request("initialize", {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": _CLIENT})
            )
            self.tell(request("notifications/initialized", id=None))
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._end()

    def _end(self) -> None:
        self._process.kill()
        self._process.communicate()

    def tell(self, line: bytes) -> None:
        """Write a line."""
        os.write(self._stdin, line)

    def line(self) -> bytes:
        """Return the next line of the server; RuntimeError if none comes in time, or at its end."""
        while b"\n" not in self._unread:
            if not self._poller.poll(1000 * _DEADLINE_S):
                raise RuntimeError(f"{self._command[0]} answered nothing for {_DEADLINE_S} s")
            data = os.read(self._stdout, 1 << 16)
            if not data:
                raise RuntimeError(f"{self._command[0]} has ended")
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def ask(self, line: bytes) -> Any:
        """Write a request, and return the result; RuntimeError if it is an error."""
        self.tell(line)
        return result(self.line())

    def cpu_s(self) -> float:
        """Return the CPU time of the server so far."""
        return cpu_s(self._process.pid)

    def memory_mib(self) -> float:
        """Return the resident memory of the server."""
        return memory_mib(self._process.pid)


def result(line: bytes) -> Any:
    """Return the result in a response; RuntimeError if it is an error, or the result of a tool that failed."""
    response = json.loads(line)
    if "error" in response or response["result"].get("isError"):
        raise RuntimeError(f"the server responded {line[:500].decode(errors='replace')}")
    return response["result"]


def value(tool_result: Any) -> Any:
    """Return the JSON value in the text of a tool's result."""
    return json.loads(tool_result["content"][0]["text"])


def p50_ms(times_s: Sequence[float]) -> float:
    """Return the median of times, in milliseconds."""
    return percentile(times_s, 50) * 1000
