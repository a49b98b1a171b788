"""Server death: a server that is stopped or killed during attacks, or runs out of descriptors, and recovers."""

from __future__ import annotations

import json
import resource
import signal
import sys
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from scripts.harness.line import connect
from scripts.harness.served import Served
from scripts.stress.socket import connect_storm
from scripts.stress.trial import Round

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# The leases of a killed server expire after 30 s: SIGKILL only in a round that has the time.
_LONG_S = 60
# A server that ends answers pending requests for at most ten seconds, and then closes connections that do not read.
_STOP_S = 18.0


def end_and_restart(round: Round, server: Served) -> None:
    """End a server by a signal while clients connect and some never read, and start it again."""
    number = round.random.choice(_SIGNALS if round.seconds < _LONG_S else (*_SIGNALS, signal.SIGKILL))
    with ExitStack() as stack:
        thread = threading.Thread(target=connect_storm.connect_repeatedly, args=(server.path, ["ask", "reset"], 1.0))
        thread.start()
        stack.callback(thread.join)
        for _ in range(20):
            idle = stack.enter_context(connect(server.path))
            with suppress(OSError):
                idle.sendall(b'{"jsonrpc":"2.0","method":"tail","id":1}\n{"jsonrpc":')
        begin = time.monotonic()
        code = server.stop(number)
        took = time.monotonic() - begin
        round.expect(took < _STOP_S, f"a server should end within {_STOP_S:g} s of {number.name}, and took {took:.1f}")
        expected = -signal.SIGKILL if number is signal.SIGKILL else 0
        round.expect(
            code == expected, f"a server should end with {expected} after {number.name}, and ended with {code}"
        )
        exists = Path(server.path).exists()
        round.expect(
            exists == (number is signal.SIGKILL),
            "a server should remove its socket at SIGTERM and SIGINT, and cannot at SIGKILL",
        )
        server.start()
    round.count(f"servers restarted after {number.name}")


def without_descriptors(round: Round, server: Served) -> None:
    """Use up nearly all descriptors: connected clients are served, new ones wait, and then all are served."""
    if sys.platform != "linux":
        return
    with ExitStack() as stack:
        connected = stack.enter_context(connect(server.path))
        connected.sendall(_ping(1))
        connected.recv(1 << 16)
        soft, hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (server.descriptors() + 3, hard))
        try:
            waiting = [stack.enter_context(connect(server.path)) for _ in range(10)]
            for number in range(20):
                connected.sendall(_ping(number))
                answer = json.loads(connected.recv(1 << 16))
                round.expect(
                    answer["result"] == "pong", "a connected client should be answered while descriptors are used up"
                )
        finally:
            resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (soft, hard))
        for connection in waiting:
            connection.sendall(_ping(7))
        for connection in waiting:
            answer = json.loads(connection.recv(1 << 16))
            round.expect(answer["result"] == "pong", "a client that waited for a descriptor should be answered")
    round.count("times without descriptors")


def _ping(number: int) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "method": "ping", "id": number}).encode() + b"\n"
