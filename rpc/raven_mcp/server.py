"""Server: `raven mcp`, one process per agent session, in one thread."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from raven.errors import abbreviate
from raven_mcp.options import Options
from raven_mcp.session.session import Session
from raven_mcp.tools.call import Tools
from raven_mcp.wire import protocol, stdio
from raven_mcp.wire.loop import Loop
from raven_mcp.wire.protocol import RefusedError, Request
from raven_mcp.wire.requests import Call, Client, Result, WaitingCalls
from raven_rpc.jsonrpc import messages

_TICK_S = 1.0
# The list of tools changes only with the program.
_TOOLS_TTL_S = 3600.0
# Different faults that are told on stderr: a host may keep all of them.
_MOST_SAID = 100
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Server:
    """Carries the calls of one host to the tools, and the rings of one doorbell to the session.

    The session and the tools get `loop` for descriptors and timers of their own, and `notify`.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.loop = Loop(lambda error: self._report("a callback", error))
        self._stdio = stdio.Stdio(self.loop, stdio.take(), self._on_line)
        self._waiting = WaitingCalls(options.progress_s)
        self._parent = os.getppid()
        self._client: Client | None = None
        self._has_to_end = False
        self._doorbell_fd = -1
        self._said: set[str] = set()
        self.session = Session(options, self.loop, self.notify)
        self.tools = Tools(self.session)

    def run(self) -> int:
        """Serve until the host closes stdin, dies or sends a signal; return the exit code."""
        self._end_on_signals()
        tick_at = time.monotonic() + _TICK_S
        while not self._has_to_end and not self._stdio.has_ended:
            self.loop.turn(min(tick_at, self._waiting.next_at()))
            if time.monotonic() >= tick_at:
                tick_at = time.monotonic() + _TICK_S
                self._tick()
            else:
                self._answer_waiting(is_all=False)
            self._follow_doorbell()
        for id in self._waiting.ids():
            self._cancel(id)
        self._stdio.close()
        self._guard("the end of the tools", self.tools.close)
        self._guard("the end of the session", self.session.close)
        return 0

    def notify(self, method: str, params: dict[str, Any]) -> None:
        """Send the host a notification."""
        self._stdio.write(messages.encode(messages.notification(method, params)))

    def _on_line(self, line: bytes | None) -> None:
        request = None
        try:
            request = protocol.parse(line)
            if request is None:
                return
            if request.is_notification:
                self._on_notification(request)
                return
            result = self._answer(request)
            if result is not None:
                self._respond(request.id, result, is_modern=request.is_modern)
        except RefusedError as refusal:
            self._stdio.write(refusal.response())
        except Exception as error:
            self._report("a request", error)
            fault = "raven has a fault here, and told its stderr: report it"
            self._stdio.write(RefusedError(messages.INTERNAL_ERROR, fault, request and request.id).response())

    def _on_notification(self, request: Request) -> None:
        if request.method == "notifications/cancelled":
            self._cancel(request.params.get("requestId"))

    def _cancel(self, id: Any) -> None:
        self._guard("a cancelled call", lambda: self._waiting.cancel(id))

    def _answer(self, request: Request) -> dict[str, Any] | None:
        """Return the result of a request, None if it waits; raises RefusedError."""
        if request.id in self._waiting:
            raise RefusedError(messages.INVALID_REQUEST, "a call with this id still waits: use another id", request.id)
        method = request.method
        if method == "initialize":
            return self._introduce(protocol.legacy_client_of(request))
        if method == "server/discover" and self.options.channel:  # a modern host opens no channel
            raise request.unknown()
        if request.is_modern:
            protocol.check_version(request, is_legacy_only=self.options.channel)
            self._meet(protocol.modern_client_of(request))
        if method == "server/discover":
            return self._introduce(protocol.modern_client_of(request))
        if method == "ping" and not request.is_modern:
            return {}
        if method == "tools/list":
            return self._list_tools(request)
        if method == "tools/call":
            return self._call(request)
        raise request.unknown()

    def _introduce(self, client: Client) -> dict[str, Any]:
        self._meet(client)
        return protocol.introduction(client, self.tools.instructions(), has_channel=self.options.channel)

    def _meet(self, client: Client) -> None:
        if client != self._client:
            self._client = client
            self._guard("the start of the session", lambda: self.session.greet(client))

    def _list_tools(self, request: Request) -> dict[str, Any]:
        if request.params.get("cursor") is not None:
            raise request.invalid("the list of tools has one page: leave out the cursor")
        result: dict[str, Any] = {"tools": self.tools.listed()}
        if request.is_modern:
            result |= protocol.cacheable(_TOOLS_TTL_S)
        return result

    def _call(self, request: Request) -> dict[str, Any] | None:
        name, arguments = request.params.get("name"), request.params.get("arguments")
        if not isinstance(name, str) or not self.tools.knows(name):
            raise request.invalid(f"there is no tool {abbreviate(name)}: tools/list names them")
        if arguments is not None and not isinstance(arguments, dict):
            raise request.invalid(f"the arguments {abbreviate(arguments)} are not an object")
        token = protocol.progress_token(request)
        call = Call(request.id, name, arguments or {}, request.meta, token, request.is_modern)
        outcome = self._result_of(name, lambda: self.tools.call(call))
        if isinstance(outcome, dict):
            return outcome
        if self._waiting.is_full:
            outcome.cancel()
            return Result.of("too many calls wait already: let one of them end first", is_error=True)
        self._waiting.add(call, outcome)
        return None

    def _result_of(self, name: str, function: Callable[[], Any]) -> Any:
        """Return what a function of a tool returns; a fault of it becomes a tool error, and the server lives."""
        try:
            return function()
        except Exception as error:
            self._report(name, error)
            return Result.of(f"raven has a fault in {name}, and told its stderr: report it", is_error=True)

    def _answer_waiting(self, *, is_all: bool) -> None:
        for call, pending in self._waiting.due(is_all=is_all):
            result = self._result_of(call.name, pending.poll)
            if result is None and pending.deadline <= time.monotonic():
                pending.cancel()
                result = Result.of(f"{call.name} waited in vain: call it again", is_error=True)
            if result is not None:
                self._waiting.remove(call.id)
                self._respond(call.id, result, is_modern=call.is_modern)
        for params in self._waiting.progress():
            self.notify("notifications/progress", params)

    def _respond(self, id: Any, result: dict[str, Any], *, is_modern: bool) -> None:
        on_written = result.on_written if isinstance(result, Result) else None
        self._stdio.write(protocol.response(id, result, is_modern=is_modern), on_written)

    def _follow_doorbell(self) -> None:
        """Watch the doorbell of the session's address, which changes with the address."""
        listener = self.session.listener
        fd = -1 if listener is None else listener.fileno()
        if fd != self._doorbell_fd:
            self.loop.unwatch(self._doorbell_fd)
            self._doorbell_fd = fd
            if fd >= 0:
                self.loop.watch(fd, self._on_ring)
                self._on_ring()

    def _on_ring(self) -> None:
        listener = self.session.listener
        if listener is not None:
            listener.drain()
        # A waiting call shows the message; then no notice is needed.
        self._answer_waiting(is_all=True)
        self._guard("a notice", self.session.on_ring)

    def _tick(self) -> None:
        self._has_to_end = self._has_to_end or os.getppid() != self._parent
        self._stdio.check()
        self._guard("a tick", self.session.tick)
        self._guard("a lease", self.tools.tick)
        self._answer_waiting(is_all=True)

    def _end_on_signals(self) -> None:
        """End as at the end of stdin when a signal comes; the byte that Python writes for it wakes the loop."""
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        for number in _SIGNALS:
            signal.signal(number, lambda *_: None)
        self.loop.watch(wake_read, self._end)

    def _end(self) -> None:
        self._has_to_end = True

    def _guard(self, what: str, function: Callable[[], object]) -> None:
        """Call a function of the session; an exception of it is told on stderr, once, and the server lives."""
        try:
            function()
        except Exception as error:
            self._report(what, error)

    def _report(self, what: str, error: Exception) -> None:
        line = " ".join(f"raven mcp: {what}: {type(error).__name__}: {error}".split())
        if line not in self._said and len(self._said) < _MOST_SAID:
            self._said.add(line)
            with suppress(OSError):
                os.write(2, f"{line}\n".encode(errors="backslashreplace"))
