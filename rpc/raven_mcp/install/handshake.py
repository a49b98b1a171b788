"""Handshake: a server is started once as a host starts it, to see that it answers and has tools."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Sequence
from typing import Any

from raven.model.version import __version__
from raven_mcp.install.files import FailedError

_TIMEOUT_S = 20
_KEPT = ("HOME", "PATH", "LANG", "TERM", "TMPDIR")
_PROTOCOL = "2025-11-25"


def count_tools(command: Sequence[str]) -> int:
    """Start a server, ask for its tools, and let it end; return their number.

    It gets no other variables than the strictest host gives. Raises FailedError if it does not answer.
    """
    words = shlex.join(command)
    requests: list[dict[str, Any]] = [
        {
            "id": 1,
            "method": "initialize",
            "params": {
                "protocolVersion": _PROTOCOL,
                "capabilities": {},
                "clientInfo": {"name": "raven-install", "version": __version__},
            },
        },
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/list", "params": {}},
    ]
    lines = "".join(json.dumps({"jsonrpc": "2.0", **request}) + "\n" for request in requests)
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    try:
        done = subprocess.run(  # noqa: S603 it is the server that a host would start
            command,
            input=lines,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            env=environment,
            check=False,
        )
    except FileNotFoundError:
        raise FailedError(f"the server `{words}` cannot start: there is no such program on PATH") from None
    except OSError as error:
        raise FailedError(f"the server `{words}` cannot start: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise FailedError(f"the server `{words}` has not answered within {_TIMEOUT_S} s") from None
    tools = _tools(done.stdout)
    if tools is None:
        said = (done.stderr.strip() or f"it ended with exit code {done.returncode}").splitlines()
        raise FailedError(f"the server `{words}` does not answer: {said[-1]}")
    return tools


def _tools(output: str) -> int | None:
    for line in output.splitlines():
        try:
            answer = json.loads(line)
        except ValueError:
            return None
        if isinstance(answer, dict) and answer.get("id") == 2:
            result = answer.get("result")
            tools = result.get("tools") if isinstance(result, dict) else None
            return len(tools) or None if isinstance(tools, list) else None
    return None
