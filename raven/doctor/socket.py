"""Socket: the file at the server's path, its owner, and the server's answer to a ping."""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from raven.doctor import permissions
from raven.doctor.linux import proc
from raven.doctor.report import Check, Finding, command, summarize
from raven.files import ownership

# The size of `sun_path`, with the closing NUL: 108 in unix(7), 104 on macOS.
_MAX_PATH_BYTES = 108 if sys.platform == "linux" else 104
_REPLY_TIMEOUT_S = 2.0
_PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n'
_MAX_REPLY = 1 << 16
_ALLOW_UID = "--allow-uid"


def check_socket(db_path: str) -> Check | None:
    """Check the server's socket, by RAVEN_SOCKET or else the bus's own; None if neither is set or present."""
    configured = os.environ.get("RAVEN_SOCKET")
    path = configured or f"{db_path}.sock"
    length = len(os.fsencode(path))
    if configured and length >= _MAX_PATH_BYTES:
        problem = f"the path in RAVEN_SOCKET has {length} bytes, but the system takes at most {_MAX_PATH_BYTES - 1}"
        return Check("socket", "warn", problem, "choose a shorter one for `raven serve --socket` and RAVEN_SOCKET")
    kind = permissions.kind_of(path)
    if not kind:
        if not configured:
            return None
        remedy = f"start {command('raven', 'serve', '--socket', path)}, or unset RAVEN_SOCKET"
        return Check("socket", "warn", f"{path}, which RAVEN_SOCKET names, does not exist", remedy)
    findings = list(permissions.writable_by_others(path))
    if kind != "a socket":
        target = f" to {os.readlink(path)}" if kind == "a symlink" else ""
        remedy = f"{command('mv', path, f'{path}.old')}, or choose another path with --socket"
        findings.append(Finding("warn", f"{path} is {kind}{target}, not a socket: no server can listen there", remedy))
        return summarize("socket", findings, "")
    problems, summary = _probe(path)
    return summarize("socket", [*findings, *problems], summary)


def _probe(path: str) -> tuple[list[Finding], str]:
    """Connect and ping; return the problems, and the text for a server without any."""
    try:
        status = os.lstat(path)
    except OSError:
        return [], f"{path} was just removed"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(_REPLY_TIMEOUT_S)
        started = time.monotonic()
        try:
            client.connect(path)
        except OSError as error:
            return [*_owner_findings(path, status, None), _unreachable(path, error)], ""
        pid = _peer(client)
        findings = list(_owner_findings(path, status, pid))
        reply = None if pid and proc.is_stopped(pid) else _ask(client)
        took_ms = (time.monotonic() - started) * 1000
    who = proc.describe(pid) if pid else "the server"
    problems = _diagnose(reply, path, who, pid)
    return [*findings, *problems], f"{who} answers at {path} after {took_ms:.0f} ms"


def _owner_findings(path: str, status: os.stat_result, pid: int | None) -> Iterator[Finding]:
    mode = stat.S_IMODE(status.st_mode)
    if not ownership.is_trusted(status.st_uid):
        owner = ownership.user_name(status.st_uid)
        problem = f"{path} belongs to {owner}, not to you: clients refuse it, as that user would read what they send"
        trust = f"set {ownership.TRUSTED_UIDS}={status.st_uid} if you trust that user"
        yield Finding("fail", problem, f"{command('rm', path)} as root, or choose another with --socket, or {trust}")
    elif mode & 0o077 and pid and not _allows_other_users(pid):
        problem = f"{path} is open to other users (mode {mode:04o}), whom the server refuses"
        yield Finding("warn", problem, command("chmod", "600", path))


def _allows_other_users(pid: int) -> bool:
    """Whether a server was started for other users too, or its arguments are unknown."""
    words = proc.arguments(pid)
    return not words or any(word.partition("=")[0] == _ALLOW_UID for word in words)


def _unreachable(path: str, error: OSError) -> Finding:
    if error.errno == errno.ECONNREFUSED:
        remedy = f"start `raven serve`, which replaces it, or {command('rm', path)}"
        return Finding("warn", f"no process listens at {path}: its server was killed", remedy)
    if error.errno in (errno.EAGAIN, errno.ETIMEDOUT) or isinstance(error, TimeoutError):
        return Finding("warn", f"the queue at {path} is full: its server accepts no connections", _find_stopped(path))
    return Finding(
        "warn", f"{path} cannot be connected to: {error.strerror or error}", f"see {command('ls', '-l', path)}"
    )


def _diagnose(reply: Any, path: str, who: str, pid: int | None) -> list[Finding]:
    if reply is None:
        if pid and proc.is_stopped(pid):
            remedy = f"`kill -CONT {pid}`, or end it with `kill -KILL {pid}`"
            return [Finding("warn", f"{who} listens at {path} and is stopped", remedy)]
        problem = f"{who} listens at {path} and does not answer within {_REPLY_TIMEOUT_S:g} s"
        return [Finding("warn", problem, f"restart it: `kill {pid}`" if pid else _find_stopped(path))]
    if isinstance(reply, dict) and "result" in reply:
        return []
    error = reply.get("error") if isinstance(reply, dict) else None
    if not isinstance(error, dict):
        problem = f"{who} listens at {path} and does not use raven's protocol"
        return [Finding("warn", problem, "end that program, or choose another path with --socket")]
    data = error.get("data")
    kind = data.get("kind") if isinstance(data, dict) else None
    remedies = {
        "limit": "close connections, or start it with a higher --max-connections",
        "forbidden": f"have it started with {_ALLOW_UID} {os.geteuid()}, or use it as its own user",
    }
    return [Finding("warn", f"{who} refuses: {error.get('message')}", remedies.get(str(kind), "see its log"))]


def _ask(client: socket.socket) -> Any:
    """Return the first line received: its JSON value, its text if it is not JSON, or None if no data comes."""
    received = b""
    deadline = time.monotonic() + _REPLY_TIMEOUT_S
    with suppress(OSError):
        # A server that refuses may have answered and closed before the ping.
        with suppress(BrokenPipeError):
            client.sendall(_PING)
        while b"\n" not in received and len(received) < _MAX_REPLY:
            client.settimeout(max(0.001, deadline - time.monotonic()))
            data = client.recv(4096)
            if not data:
                break
            received += data
    if not received:
        return None
    try:
        return json.loads(received.partition(b"\n")[0])
    except (ValueError, RecursionError):
        return received.decode(errors="replace")


def _peer(client: socket.socket) -> int | None:
    """Return the pid of the listening process, or None if the system does not report it."""
    if sys.platform != "linux":
        return None
    pid, _, _ = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return int(pid) or None


def _find_stopped(path: str) -> str:
    return f"find it with {command('fuser', path)} or `ss -xlp`; continue it (`kill -CONT`), or restart it"
