"""Run the official conformance suite of the Model Context Protocol against `raven mcp`, as far as it fits.

The suite speaks HTTP to its server, so a bridge on loopback carries each request to a `raven mcp` on two pipes and its
answer back. Scenarios that want HTTP itself, resources, prompts, or tools of a certain name are left out.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import threading
import uuid
from concurrent.futures import Future
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_WAIT_S = 60
_SESSION = "Mcp-Session-Id"
LEGACY, MODERN = ("2025-06-18", "2025-11-25"), ("2026-07-28",)
SCENARIOS = {
    "server-initialize": LEGACY,
    "ping": LEGACY,
    "tools-list": LEGACY + MODERN,
    "server-stateless": MODERN,
    "caching": MODERN,
}
# Checks within these scenarios that a server on pipes, or one without tools for tests, cannot pass.
_HEADERS, _TEST_TOOL = "it is about headers of HTTP", "it calls a tool that servers under test have"
_BOTH, _TOOLS_ONLY = "raven serves the older protocol as well", "raven has tools alone"
UNFIT = {
    "sep-2575-http-server-header-mismatch-400": _HEADERS,
    "sep-2575-server-rejects-undeclared-capability": _TEST_TOOL,
    "sep-2575-missing-capability-http-400": _TEST_TOOL,
    "sep-2575-http-server-no-independent-requests-on-stream": _TEST_TOOL,
    "sep-2575-server-no-log-without-loglevel": _TEST_TOOL,
    "sep-2575-http-server-method-not-found-404-initialize": _BOTH,
    "sep-2549-prompts-list-caching-hints": _TOOLS_ONLY,
    "sep-2549-resources-list-caching-hints": _TOOLS_ONLY,
    "sep-2549-resources-templates-list-caching-hints": _TOOLS_ONLY,
}


class Child:
    """A `raven mcp`, and the requests that it has not answered yet."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-m", "raven", "mcp", "--db", str(folder / "bus.db"), "--no-push"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, cwd=folder)
        self._waiting: dict[str, tuple[Any, Future[Any]]] = {}
        threading.Thread(target=self._read, daemon=True).start()

    def write(self, message: Any) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(message).encode() + b"\n")

    def ask(self, message: dict[str, Any]) -> Any:
        """Return the answer to a request. On the way its id is another one: several clients may use the same."""
        own_id, answer = uuid.uuid4().hex, Future[Any]()
        self._waiting[own_id] = message["id"], answer
        self.write({**message, "id": own_id})
        return answer.result(_WAIT_S)

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            message = json.loads(line)
            if message.get("id") in self._waiting:
                message["id"], answer = self._waiting.pop(message["id"])
                answer.set_result(message)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


class Bridge(ThreadingHTTPServer):
    """Carries POSTs to a child for each legacy session, and to one child for all modern requests."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/mcp"
        self._folder = folder
        self.children = {"": Child(folder)}

    def session(self) -> str:
        """Start a child, and return the id of its session."""
        name = uuid.uuid4().hex
        self.children[name] = Child(self._folder)
        return name

    def server_close(self) -> None:
        super().server_close()
        for child in self.children.values():
            child.close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Bridge

    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        session = self.headers.get(_SESSION, "")
        if isinstance(message, dict) and message.get("method") == "initialize":
            session = self.server.session()
        child = self.server.children.get(session)
        if child is None:
            self._answer(404)
        elif isinstance(message, dict) and "id" in message and "method" in message:
            answer = child.ask(message)
            # The binding of the modern protocol to HTTP names these: a method that is unknown, and other refusals.
            status = {-32601: 404}.get(answer.get("error", {}).get("code"), 400) if "error" in answer else 200
            self._answer(status if not session else 200, answer, session)
        else:
            child.write(message)
            self._answer(202, session=session)

    def do_GET(self) -> None:
        self._answer(405)

    def do_DELETE(self) -> None:
        child = self.server.children.pop(self.headers.get(_SESSION) or "?", None)
        if child:
            child.close()
        self._answer(204 if child else 404)

    def _answer(self, status: int, body: Any = None, session: str = "") -> None:
        content = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if session:
            self.send_header(_SESSION, session)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        pass


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/conformance", description=__doc__.partition("\n")[0])
    parser.add_argument("suite", help="the folder into which npm has installed the suite and Node.js")
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"default: {', '.join(SCENARIOS)}")
    args = parser.parse_args()
    modules = Path(args.suite).resolve() / "node_modules"
    suite = [str(modules / "node" / "bin" / "node"), str(modules / "@modelcontextprotocol/conformance/dist/index.js")]
    failed = 0
    with tempfile.TemporaryDirectory(prefix="raven-conformance-") as folder, ExitStack() as stack:
        bridge = Bridge(Path(folder))
        stack.callback(bridge.server_close)
        threading.Thread(target=bridge.serve_forever, daemon=True).start()
        stack.callback(bridge.shutdown)
        for name in args.scenarios or SCENARIOS:
            for version in SCENARIOS.get(name, LEGACY + MODERN):
                options = ["--url", bridge.url, "--scenario", name, "--spec-version", version]
                command = [*suite, "server", *options]
                done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
                failed += _report(name, version, done.stdout + done.stderr)
    return 1 if failed else 0


def _report(name: str, version: str, output: str) -> int:
    """Print the result of a scenario, and return how many checks failed that fit."""
    found = re.findall(r"\[([\w-]+) *\] (SUCCESS|FAILURE|WARNING|SKIPPED) (.*)", re.sub(r"\x1b\[\d*m", "", output))
    passed = sum(status == "SUCCESS" for _, status, _ in found)
    unfit = [check for check, status, _ in found if status == "FAILURE" and check in UNFIT]
    failed = [(check, text) for check, status, text in found if status == "FAILURE" and check not in UNFIT]
    print(f"{name:<20} {version}  {passed} passed, {len(failed)} failed, {len(unfit)} do not fit", flush=True)
    for check, text in failed:
        print(f"    {check}: {text}")
    for check in unfit:
        print(f"    {check} does not fit: {UNFIT[check]}")
    if not found:
        print(output)
    return len(failed) + (not found)


if __name__ == "__main__":
    sys.exit(main())
