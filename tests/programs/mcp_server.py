"""An MCP server with options that the command line lacks.

Arguments: the options as JSON, and perhaps `noise`: other code of its process uses the streams; or `faulty`: its tools
and its session have a fault.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any, NoReturn

from raven_mcp.options import Options
from raven_mcp.server import Server

server = Server(Options(**json.loads(sys.argv[1])))
if "noise" in sys.argv[2:]:
    print("a line for stdout")
    sys.stdout.flush()
    os.write(1, b"bytes for descriptor 1\n")
    subprocess.run(["sh", "-c", "echo a line of a child; cat"], check=True)
    assert sys.stdin.read() == ""
if "faulty" in sys.argv[2:]:
    tools: Any = server.tools
    session: Any = server.session

    def fail(*_: object) -> NoReturn:
        """Fail as no caller expects."""
        raise ZeroDivisionError("a fault\nof two lines")

    class Faulty:
        """A call that waits; its argument names the method that fails."""

        deadline = float("inf")

        def __init__(self, method: str) -> None:
            self.poll = self.cancel = lambda: None
            setattr(self, method, fail)

    def call(call: Any) -> Any:
        return Faulty(call.arguments["fails"]) if call.arguments else fail()

    tools.call = call
    tools.listed = session.tick = session.close = fail
    server.loop.add(0, fail)
sys.exit(server.run())
