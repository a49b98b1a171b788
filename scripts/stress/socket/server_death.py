"""Ends: a helper that is stopped or killed under abuse, or runs out of descriptors, and is well again afterwards."""

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
from scripts.stress.socket import connect_storm as abuse_crowd
from scripts.stress.trial import Round

_ENDS = (signal.SIGTERM, signal.SIGINT)
# What a helper that is killed has leased comes again when its lease ends, after 30 s: only where there is time for it.
_LONG_S = 60
# It answers what it was asked, for at most ten seconds, and then gives up those that do not read.
_STOP_S = 18.0


def ended_and_started_again(round: Round, helper: Served) -> None:
    """End a helper by a signal while a crowd comes and some never read, and start it again."""
    number = round.random.choice(_ENDS if round.seconds < _LONG_S else (*_ENDS, signal.SIGKILL))
    with ExitStack() as stack:
        crowd = threading.Thread(target=abuse_crowd.visit, args=(helper.path, ["ask", "reset"], 1.0))
        crowd.start()
        stack.callback(crowd.join)
        for _ in range(20):
            idle = stack.enter_context(connect(helper.path))
            with suppress(OSError):
                idle.sendall(b'{"jsonrpc":"2.0","method":"tail","id":1}\n{"jsonrpc":')
        begin = time.monotonic()
        code = helper.stop(number)
        took = time.monotonic() - begin
        round.expect(took < _STOP_S, f"a helper should end within {_STOP_S:g} s of {number.name}, and took {took:.1f}")
        wanted = -signal.SIGKILL if number is signal.SIGKILL else 0
        round.expect(code == wanted, f"a helper should end with {wanted} after {number.name}, and ended with {code}")
        is_there = Path(helper.path).exists()
        round.expect(is_there == (number is signal.SIGKILL), "a helper that is stopped should remove its socket")
        helper.start()
    round.count(f"servers restarted after {number.name}")


def without_descriptors(round: Round, helper: Served) -> None:
    """Take away nearly all descriptors: who is connected goes on, who comes waits, and then all is as before."""
    if sys.platform != "linux":
        return
    with ExitStack() as stack:
        inside = stack.enter_context(connect(helper.path))
        inside.sendall(_ping(1))
        inside.recv(1 << 16)
        soft, hard = resource.prlimit(helper.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(helper.pid, resource.RLIMIT_NOFILE, (helper.descriptors() + 3, hard))
        try:
            waiting = [stack.enter_context(connect(helper.path)) for _ in range(10)]
            for number in range(20):
                inside.sendall(_ping(number))
                answer = json.loads(inside.recv(1 << 16))
                round.expect(answer["result"] == "pong", "who is in should be answered where descriptors are used up")
        finally:
            resource.prlimit(helper.pid, resource.RLIMIT_NOFILE, (soft, hard))
        for connection in waiting:
            connection.sendall(_ping(7))
        for connection in waiting:
            answer = json.loads(connection.recv(1 << 16))
            round.expect(answer["result"] == "pong", "who waited for a descriptor should be answered")
    round.count("times without descriptors")


def _ping(number: int) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "method": "ping", "id": number}).encode() + b"\n"
