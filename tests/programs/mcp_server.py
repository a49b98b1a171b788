"""An MCP server with options that the command line lacks; with `noise`, other code of its process uses the streams.

Arguments: the options as JSON, and perhaps `noise`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

from raven_mcp.options import Options
from raven_mcp.server import Server

server = Server(Options(**json.loads(sys.argv[1])))
if "noise" in sys.argv[2:]:
    print("a line for stdout")
    sys.stdout.flush()
    os.write(1, b"bytes for descriptor 1\n")
    subprocess.run(["sh", "-c", "echo a line of a child; cat"], check=True)
    assert sys.stdin.read() == ""
sys.exit(server.run())
