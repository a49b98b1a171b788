"""AgentSession: a Session in the test's process, with the loop that the server gives it; and the hosts' ways in."""

from __future__ import annotations

import json
import os
import socket
import stat
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from raven import BusClient, Message
from raven_mcp.options import Options
from raven_mcp.session.identity import is_subagent
from raven_mcp.session.session import Session
from raven_mcp.wire.loop import Loop
from raven_mcp.wire.requests import Call, Client
from tests.support import Deadline

CLAUDE_ID = "0b9d7b1a-6a2c-4a57-9a53-3d1f6a6c3f2a"
CODEX_ID = "019a3c52-77aa-7c31-9f55-0a1b2c3d4e5f"
OTHER_ID = "77777777-6a2c-4a57-9a53-3d1f6a6cbeef"


def claude(session: str = CLAUDE_ID, **variables: str) -> dict[str, str]:
    """Return the environment of a server of Claude Code."""
    return {"CLAUDE_CODE_SESSION_ID": session, **variables}


# Longer than a burst of mail, and shorter than a connection to an inbox stays open.
_SOON_S = 0.4


class Clock:
    """A monotonic clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def pass_s(self, seconds: float) -> None:
        self.now += seconds


class Inbox:
    """A stand-in for the inbox of a Claude Code session: a Unix socket that takes lines of JSON."""

    def __init__(self, folder: Path, name: str = "inbox.sock") -> None:
        self.path = str(folder / name)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(self.path)
        os.chmod(self.path, stat.S_IRUSR | stat.S_IWUSR)
        self._socket.listen(16)
        self._socket.setblocking(False)
        self.lines: list[Any] = []
        self.texts: list[str] = []

    @property
    def env(self) -> dict[str, str]:
        """The environment that Claude Code gives its servers."""
        return {
            "CLAUDE_CODE_SESSION_ID": CLAUDE_ID,
            "CLAUDE_CODE_MESSAGING_SOCKET": self.path,
            "CLAUDE_CODE_MESSAGING_TOKEN": "secret",
        }

    def read(self) -> list[str]:
        """Take in all pushes so far, and return their texts."""
        with suppress(BlockingIOError):
            while True:
                connection, _ = self._socket.accept()
                with connection, connection.makefile("rb") as file:
                    lines = [json.loads(line) for line in file]
                self.lines += lines
                self.texts += [line["message"]["content"] for line in lines if line["type"] == "user"]
        return self.texts

    def close(self) -> None:
        """Close the socket, as a session that ends does."""
        self._socket.close()
        with suppress(FileNotFoundError):
            os.unlink(self.path)


class AgentSession:
    """A session of a program; `env` is the whole environment of its server, and `meta` comes with each call."""

    def __init__(
        self,
        db: str,
        *,
        host: str = "claude-code",
        env: Mapping[str, str] | None = None,
        address: str | None = None,
        clock: Callable[[], float] = time.monotonic,
        meta: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        self.db = db
        self.host = host
        self.meta = dict(meta or {})
        self.loop = Loop()
        self.notified: list[tuple[str, dict[str, Any]]] = []
        self._doorbell = -1
        self._senders: dict[str, BusClient] = {}
        self.session = Session(
            Options(db=db, address=address, **options),
            self.loop,
            lambda method, params: self.notified.append((method, params)),
            environ={"PATH": os.environ["PATH"]} if env is None else env,
            clock=clock,
        )

    def start(self) -> AgentSession:
        """Greet the session, and bind it by a call unless its environment has."""
        self.session.greet(Client(self.host, "1", "2025-11-25"))
        if self.session.address is None:
            self.call("peers")
        return self

    def call(self, name: str = "peers", meta: Mapping[str, Any] | None = None, **arguments: Any) -> Call:
        """Call a tool, as far as the session hears of it; returns the call."""
        call = Call(1, name, arguments, {**self.meta, **(meta or {})}, None, False)
        self.session.bind(call)
        return call

    def hook(self, kind: str, session: str | None = None, *, is_active: bool = False, agent: str = "") -> str | None:
        """Call the hidden tool of the hooks, for this session or another; returns the notice."""
        call = self.call("hook", event=kind, session=session or self.session.native_id, agent=agent)
        return self.session.hear(kind, is_active=is_active, is_subagent=is_subagent(call))

    @property
    def address(self) -> str:
        """The session's address, which it must have."""
        assert self.session.address
        return self.session.address

    def send(
        self, sender: str = "architect:pay", urgency: Any = "prompt", type: str = "question", **options: Any
    ) -> int:
        """Send the session a message from another client, and return its id."""
        bus = self._senders.setdefault(sender, BusClient.at(sender, self.db))
        return bus.send(self.address, type, "Which column?", urgency=urgency, **options).id

    def look(self) -> list[Message]:
        """Show the model its mail, as the tool `inbox` does."""
        messages = self.session.bus.inbox()
        self.session.shown([message.id for message in messages])
        return messages

    def turn(self, at_most_s: float = 0.05) -> None:
        """Turn the loop once, as the server does."""
        listener = self.session.listener
        descriptor = -1 if listener is None else listener.fileno()
        if descriptor != self._doorbell:
            self.loop.unwatch(self._doorbell)
            self._doorbell = descriptor
            if descriptor >= 0:
                self.loop.watch(descriptor, self._on_ring)
                self.session.on_ring()
        self.loop.turn(time.monotonic() + at_most_s)

    def _on_ring(self) -> None:
        assert self.session.listener
        self.session.listener.drain()
        self.session.on_ring()

    def turn_until(self, condition: Callable[[], Any], what: str) -> None:
        """Turn the loop, with the tick of each second, until a condition holds."""
        deadline, tick_at = Deadline(20), time.monotonic() + 1
        while not condition():
            assert deadline.left_s(), f"waited in vain for: {what}"
            self.turn()
            if time.monotonic() >= tick_at:
                tick_at += 1
                self.session.tick()

    def settle(self) -> None:
        """Turn the loop until no timer is due soon, and then do the work of a tick: pushes have been done."""
        self.turn(0)
        self._await_timers()
        self.session.tick()
        self._await_timers()

    def _await_timers(self) -> None:
        while any(timer.at < time.monotonic() + _SOON_S for timer in self.loop._timers):
            self.turn()

    def close(self) -> None:
        """End the session and its senders."""
        self.session.close()
        for bus in self._senders.values():
            bus.close()
