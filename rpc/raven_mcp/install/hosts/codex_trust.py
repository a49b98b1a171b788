"""Trust of Codex: which hooks of raven it does not run, since its user has not trusted them; asked of Codex itself."""

from __future__ import annotations

import json
import os
import subprocess
from threading import Timer
from typing import Any

from raven.model.version import __version__
from raven_mcp.install.entries import is_hook

_TIMEOUT_S = 10
_UNTRUSTED = ("untrusted", "modified")


def untrusted_hooks(codex: str) -> list[str]:
    """Return the events whose hook of raven is not trusted; none if Codex does not tell.

    It speaks with `codex app-server`, whose protocol is experimental: an unknown answer counts as none.
    """
    client = {"clientInfo": {"name": "raven", "version": __version__}}
    requests: list[dict[str, Any]] = [
        {"id": 1, "method": "initialize", "params": client},
        {"method": "initialized"},
        {"id": 2, "method": "hooks/list", "params": {"cwds": [os.getcwd()]}},
    ]
    try:
        with subprocess.Popen(  # noqa: S603 it is the user's own Codex
            [codex, "app-server"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as server:
            # Its stdin stays open: at the end of it Codex leaves requests without an answer.
            timer = Timer(_TIMEOUT_S, server.kill)
            timer.start()
            try:
                hooks = _hooks(_ask(server, requests))
            finally:
                timer.cancel()
                server.kill()
    except (OSError, ValueError):
        return []
    return [str(hook.get("eventName")) for hook in hooks if hook.get("trustStatus") in _UNTRUSTED]


def _ask(server: subprocess.Popen[bytes], requests: list[dict[str, Any]]) -> Any:
    """Send the requests, and return the result of the last one; None if it has none."""
    if server.stdin is None or server.stdout is None:
        return None
    server.stdin.write(b"".join(json.dumps(request).encode() + b"\n" for request in requests))
    server.stdin.flush()
    for line in server.stdout:
        answer = json.loads(line)
        if isinstance(answer, dict) and answer.get("id") == requests[-1]["id"]:
            return answer.get("result")
    return None


def _hooks(result: Any) -> list[dict[str, Any]]:
    """Return the hooks of raven in a result."""
    folders = result.get("data") if isinstance(result, dict) else None
    hooks = [
        hook
        for folder in (folders if isinstance(folders, list) else ())
        for hook in (folder.get("hooks", ()) if isinstance(folder, dict) else ())
    ]
    return [hook for hook in hooks if isinstance(hook, dict) and is_hook({**hook, "type": _type_of(hook)})]


def _type_of(hook: dict[str, Any]) -> str:
    """Return the type of a hook by its name in hooks.json: Codex shows it with another name."""
    return "mcp_tool" if hook.get("handlerType") == "mcpTool" else "command"
