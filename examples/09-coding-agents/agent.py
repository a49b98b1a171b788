"""Agent: a session of a coding agent without its model. It owns a `raven mcp`, as each real session does."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

WAIT_S = 60
TOKEN = "only the host and its children know this"


class Agent:
    """Calls tools as a model would, and prints each call and each text that the model would read."""

    def __init__(self, name: str, folder: Path, host: str, **environment: str) -> None:
        self.name = name
        self._session = f"session-of-{name}"
        self._meta = {"threadId": self._session} if host == "codex-mcp-client" else {}
        self._inbox = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._inbox.settimeout(WAIT_S)
        command = [sys.executable, "-m", "raven", "mcp", "--db", str(folder / "bus.db")]
        if host == "claude-code":
            # The host's own inbox: children of the host may write to it, and that begins a turn of an idle session.
            self._inbox.bind(str(folder / f"{name}.sock"))
            self._inbox.listen()
            environment |= {"CLAUDE_CODE_MESSAGING_SOCKET": self._inbox.getsockname()}
            environment |= {"CLAUDE_CODE_MESSAGING_TOKEN": TOKEN, "CLAUDE_CODE_SESSION_ID": self._session}
        else:
            command.append("--no-push")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("RAVEN", "CLAUDE"))}
        kept |= {"HOME": str(folder)} | environment
        pipe = subprocess.PIPE
        self._server = subprocess.Popen(command, stdin=pipe, stdout=pipe, cwd=folder, env=kept, bufsize=0)
        client = {"clientInfo": {"name": host, "version": "0"}, "capabilities": {}, "protocolVersion": "2025-06-18"}
        self.request("initialize", client)
        self.write({"method": "notifications/initialized"})

    def write(self, message: dict[str, Any]) -> None:
        assert self._server.stdin
        self._server.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

    def request(self, method: str, params: dict[str, Any]) -> Any:
        """Write a request on one line, and return the result in the answer, which is one line too."""
        assert self._server.stdout
        self.write({"id": 1, "method": method, "params": params})
        answer = json.loads(self._server.stdout.readline())
        if "error" in answer or answer["result"].get("isError"):
            raise SystemExit(f"{self.name}: {answer}")
        return answer["result"]

    def ask(self, tool: str, **arguments: Any) -> str:
        """Call a tool, and return the text of its result."""
        result = self.request("tools/call", {"name": tool, "arguments": arguments, "_meta": self._meta})
        return str(result["content"][0]["text"])

    def call(self, tool: str, **arguments: Any) -> Any:
        """Call a tool as the model would: print the call and the result, and return the result."""
        self.say(f"calls {tool}({', '.join(f'{key}={json.dumps(value)}' for key, value in arguments.items())})")
        text = self.ask(tool, **arguments)
        self.say(f"reads {text}")
        return json.loads(text)

    def rest(self) -> None:
        """End the turn, and wait until the host begins the next one."""
        answer = json.loads(self.ask("hook", event="Stop", session=self._session))
        if answer:  # mail came meanwhile: the host goes on at once
            return self.say(f"goes on: {answer}")
        self.say("is idle")
        connection, _ = self._inbox.accept()
        with connection, connection.makefile(encoding="utf-8") as lines:
            auth, message = json.loads(next(lines)), json.loads(next(lines))
        assert auth == {"type": "auth", "token": TOKEN}
        self.say(f"wakes: {message['message']['content']}")
        self.ask("hook", event="UserPromptSubmit", session=self._session)
        return None

    def say(self, text: str) -> None:
        # One write for the whole line: the sessions share this output.
        sys.stdout.write(f"{self.name:<10} {text}\n")
        sys.stdout.flush()
