"""HostInput: the JSON that a host writes to its hook, of which only named fields are read."""

from __future__ import annotations

import json
import os
import select
import time
from typing import Any, NamedTuple

from raven.errors import InputError, abbreviate
from raven_mcp.session.announced import is_native_id

MAX_BYTES = 1 << 20
_CHUNK = 1 << 16


class HostInput(NamedTuple):
    """A hook's event, and the session in which it happened.

    `event` is the host's own name of it. `is_active`: the turn goes on already because of a hook. `is_subagent`: the
    event is that of an agent within the session, which has no mail of its own. `is_over`: the user or an error has
    ended the turn.
    """

    session: str | None = None
    event: str | None = None
    folder: str | None = None
    source: str | None = None
    is_active: bool = False
    is_subagent: bool = False
    is_over: bool = False


def read(descriptor: int, timeout_s: float) -> HostInput:
    """Read the whole input; raises InputError if it is too long, comes too late or is no JSON object.

    Too long an input is read to its end all the same: a host may not endure that its hook does not read. No input at
    all, or a terminal, is a call by hand.
    """
    if os.isatty(descriptor):
        return HostInput()
    deadline = time.monotonic() + timeout_s
    content = bytearray()
    length = 0
    while True:
        try:
            ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
            chunk = os.read(descriptor, _CHUNK) if ready else None
        except (OSError, ValueError):  # it is closed
            chunk = b""
        if chunk is None:
            raise InputError(f"the host's input did not end within {timeout_s:g} s: close the hook's stdin after it")
        if not chunk:
            break
        length += len(chunk)
        if length <= MAX_BYTES:
            content += chunk
    if length > MAX_BYTES:
        raise InputError(f"the host's input has {length:,} bytes, but a hook reads at most {MAX_BYTES:,}")
    return parse(bytes(content)) if content.strip() else HostInput()


def parse(content: bytes) -> HostInput:
    """Return the named fields of a host's input; raises InputError."""
    try:
        fields = json.loads(content)
    except (ValueError, RecursionError):
        raise InputError(f"the host's input is no JSON: {abbreviate(content[:100])}") from None
    if not isinstance(fields, dict):
        raise InputError(f"the host's input is {abbreviate(fields)}, but must be a JSON object")
    session = _text(fields, "session_id") or _text(fields, "conversation_id")
    if session is not None and not is_native_id(session):
        raise InputError(f"the session {abbreviate(session)} must be 1 to 128 letters, digits, '_' and '-'")
    loops = fields.get("loop_count")
    return HostInput(
        session=session,
        event=_text(fields, "hook_event_name"),
        folder=_text(fields, "cwd") or _first_folder(fields),
        source=_text(fields, "source"),
        is_active=fields.get("stop_hook_active") is True or (isinstance(loops, int) and loops > 0),
        is_subagent=bool(_text(fields, "agent_id")),
        is_over=_text(fields, "status") in ("aborted", "error"),
    )


def _text(fields: dict[str, Any], name: str) -> str | None:
    value = fields.get(name)
    return value if isinstance(value, str) and value and "\0" not in value else None


def _first_folder(fields: dict[str, Any]) -> str | None:
    """Return the first of Cursor's `workspace_roots`: its hooks for a user run elsewhere."""
    roots = fields.get("workspace_roots")
    return _text({"root": roots[0]}, "root") if isinstance(roots, list) and roots else None
