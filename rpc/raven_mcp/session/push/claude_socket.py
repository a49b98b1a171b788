"""ClaudeSocket: the inbox of a Claude Code session, a Unix socket that wakes it.

Claude Code names the socket, and a token for it, in the environment of its MCP servers. It takes lines of JSON, shows
the text as the message of another session, and refuses bursts and repeats.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import time
from collections.abc import Callable, Mapping
from typing import Any

from raven.errors import RavenError
from raven.files import ownership
from raven_mcp.wire.loop import Loop
from raven_rpc.jsonrpc.messages import encode

SOCKET_VARIABLE, TOKEN_VARIABLE = "CLAUDE_CODE_MESSAGING_SOCKET", "CLAUDE_CODE_MESSAGING_TOKEN"
# A program that takes no connection for so long is stopped.
_TIMEOUT_S = 0.2
# The other end may still answer: for it, the connection stays open for so long.
_LINGER_S = 1.0


class ClaudeSocket:
    """The inbox of one session; a push is one connection to it."""

    def __init__(self, environ: Mapping[str, str], loop: Loop) -> None:
        self._path = environ[SOCKET_VARIABLE]
        self._token = environ.get(TOKEN_VARIABLE)
        self._loop = loop
        self._open: list[socket.socket] = []

    def post(self, text: str, done: Callable[[bool], None]) -> None:
        """Write a text to the socket; it fails if the socket is gone, refuses, or belongs to another user."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(_TIMEOUT_S)
            self._check()
            connection.connect(self._path)
            self._check_peer(connection)
            connection.sendall(self._lines(text))
            connection.shutdown(socket.SHUT_WR)
        except (OSError, RavenError, ValueError):
            connection.close()
            return done(False)
        self._open.append(connection)
        self._loop.add(time.monotonic() + _LINGER_S, self._close_first)
        return done(True)

    def close(self) -> None:
        """Close the connections that are still open."""
        while self._open:
            self._close_first()

    def _close_first(self) -> None:
        if self._open:
            self._open.pop(0).close()

    def _check(self) -> None:
        """Raise PermissionError unless a trusted user has made the socket: the other end learns the token."""
        status = os.stat(self._path)
        if not stat.S_ISSOCK(status.st_mode) or not ownership.is_trusted(status.st_uid):
            raise PermissionError(errno.EPERM, "not a socket of this user", self._path)

    def _check_peer(self, connection: socket.socket) -> None:
        from raven_rpc.jsonrpc.unix_socket import check_server

        check_server(connection, self._path)

    def _lines(self, text: str) -> bytes:
        message: dict[str, Any] = {"type": "user", "message": {"role": "user", "content": text}}
        auth = encode({"type": "auth", "token": self._token}) if self._token else b""
        return auth + encode(message)
