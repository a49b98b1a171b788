"""Control traffic: two clients that use the server correctly during the attacks, and checks of their messages."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from scripts.harness.program import Program
from scripts.stress.trial import Round

# Far longer than any call takes on an idle machine, and far shorter than the timeouts of the clients.
_BOUND_S = 10.0


class ControlTraffic:
    """A sender and a reader, each in a process of its own, which run inside `with`.

    At the end it reports messages that were lost, duplicated, reordered or late. With `is_disturbed` the server was
    ended meanwhile: then messages may come twice, late and out of order.
    """

    def __init__(self, round: Round, path: str) -> None:
        self._round = round
        self._path = path
        self._stack = ExitStack()
        self.is_disturbed = False

    def __enter__(self) -> Self:
        try:
            self._reader, self._sender = (
                self._stack.enter_context(Program("stress.socket.control_client", part, self._path, greets=True))
                for part in ("reader", "sender")
            )
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            if error is None:
                self._check()

    def _check(self) -> None:
        round = self._round
        self._sender.tell("over")
        sent = json.loads(self._sender.line())
        self._reader.tell(str(sent["count"]))
        read = json.loads(self._reader.line())
        round.count("control messages", sent["count"])
        round.expect(sent["count"], "the control sender should have sent a message")
        for number in read["lost"]:
            round.report("lost", f"control message {number} was answered and never received")
        if not self.is_disturbed:
            for number in read["duplicated"]:
                round.report("duplicated", f"control message {number} was received twice")
            if read["reordered"]:
                round.report("reordered", f"control messages came out of order {read['reordered']} times")
            for part, slowest_s in (("send", sent["slowest_s"]), ("delivery", read["slowest_s"])):
                round.expect(slowest_s < _BOUND_S, f"a control {part} took {slowest_s:.1f} s")
                print(f"socket: the slowest control {part} took {1000 * slowest_s:.0f} ms", file=sys.stderr)
