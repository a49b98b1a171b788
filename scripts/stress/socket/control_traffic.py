"""Honest: two clients who use a helper as it is meant, while others do not, and what came of their mail."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from scripts.harness.program import Program
from scripts.stress.trial import Round

# Far longer than anything takes on a machine with nothing else to do, and far less than any of their timeouts.
_BOUND_S = 10.0


class Honest:
    """One who sends and one who reads, each in a process of its own, for as long as this is entered.

    Left, it tells the round what was lost, duplicated, reordered or late. With `is_disturbed` the helper was ended
    meanwhile: then what was on its way may come twice, and late, and not in order.
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
                self._tell()

    def _tell(self) -> None:
        round = self._round
        self._sender.tell("over")
        sent = json.loads(self._sender.line())
        self._reader.tell(str(sent["count"]))
        read = json.loads(self._reader.line())
        round.count("control messages", sent["count"])
        round.expect(sent["count"], "the honest should have sent something")
        for number in read["lost"]:
            round.report("lost", f"message {number} of the honest was answered and never came")
        if not self.is_disturbed:
            for number in read["duplicated"]:
                round.report("duplicated", f"message {number} of the honest came twice")
            if read["reordered"]:
                round.report("reordered", f"messages of the honest came out of order {read['reordered']} times")
            for part, slowest_s in (("send", sent["slowest_s"]), ("delivery", read["slowest_s"])):
                round.expect(slowest_s < _BOUND_S, f"a {part} of the honest took {slowest_s:.1f} s")
                print(f"socket: the slowest {part} of the honest took {1000 * slowest_s:.0f} ms", file=sys.stderr)
