"""Part: what one process of a storm has to play, and its journal."""

from __future__ import annotations

import json
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from raven import Message, RavenError
from scripts.trials.history.journal import Journal, digest, token_of
from scripts.trials.storm import death

_T = TypeVar("_T")
# Nobody polls more often than this, so that what is not woken is seen to wait.
POLL_S = 1.0
NEVER_POLLS_S = 60.0
LEASE_S = 1.0
# The helper may be killed a few times as it starts.
PATIENCE_S = 30.0


class Death(NamedTuple):
    """At the nth step of which kind this process is to die, and at which moment of it."""

    of: str
    nth: int
    moment: str


class Part:
    """One life: its name is `<actor>.<number>`, its chance comes from its seed."""

    def __init__(
        self, life: str, journals: str, db: str, seed: str, death: list[Any] | None, is_calm: bool, role: str = ""
    ) -> None:
        self.life = life
        self.actor = life.partition(".")[0]
        self.journals = Path(journals)
        self.journal = Journal(self.journals, life)
        self.db = db
        self.socket = f"{db}.sock"
        self.random = random.Random(seed)
        self.role = role
        self.is_calm = is_calm
        self.poll_interval_s = NEVER_POLLS_S if is_calm else POLL_S
        self.death = None if death is None else Death(*death)
        self.leases: dict[int, int | None] = {}  # of each message the last under which it was received
        self._calls = count()

    def next_call(self) -> int:
        """Return the number of another call."""
        return next(self._calls)

    def call(self, before: str, after: str, act: Callable[[], _T], **told: Any) -> _T | None:
        """Make a call with an event before it and one after it; returns None where it was refused.

        An error after which it is not known what was done is none of the two: nothing is written then.
        """
        number = self.next_call()
        self.journal.write(before, call=number, **told)
        return self.outcome(number, after, act)

    def outcome(self, number: int, after: str, act: Callable[[], _T]) -> _T | None:
        """Do what was written down as begun, and write down what came of it."""
        try:
            result = act()
        except RavenError as error:
            if is_unsure(error):
                return None
            self.journal.write("refused", call=number, error=f"{type(error).__name__}: {error}")
            check_expected(error)
            return None
        told = {"ids": [sent.id for sent in result]} if after == "sent" else {}  # type: ignore[attr-defined]
        self.journal.write(after, call=number, **told)
        return result

    def consuming(self, address: str, mode: str, **told: Any) -> None:
        """Tell how this process takes whose mail."""
        self.journal.write("consuming", address=address, mode=mode, **told)

    def received(self, message: Message) -> None:
        """Tell that a message is in hand."""
        self.leases[message.id] = message.lease
        self.journal.write(
            "received",
            id=message.id,
            token=token_of(message.body),
            digest=digest(message.body),
            urgency=message.urgency,
            attempts=message.attempts,
            lease=message.lease,
        )

    def each(self, messages: Iterator[Message]) -> Iterator[Message]:
        """Yield the messages of a loop, with the events around them."""
        while True:
            self.journal.write("asking")
            message = next(messages, None)
            if message is None:
                return
            self.received(message)
            yield message

    def pause(self, least_s: float, most_s: float) -> None:
        """Do something else for a while."""
        time.sleep(self.random.uniform(least_s, most_s))


def is_unsure(error: RavenError) -> bool:
    """Whether an error leaves it open what was done."""
    return type(error).__name__ == "LostError"


def check_expected(error: RavenError) -> None:
    """Raise an error again that nobody should meet in a storm."""
    if type(error).__name__ not in ("BusyError", "LeaseLostError", "UnreachableError", "DeliveryError"):
        raise error


def play(act: Callable[[Part], None]) -> None:
    """Play the part that the arguments tell, until its death, its end, or SIGTERM."""
    part = Part(**json.loads(sys.argv[1]))
    armed = death.arm(part.journal, *part.death) if part.death is not None else None
    with suppress(SystemExit, KeyboardInterrupt):
        try:
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
            act(part)
        except Exception:
            part.journal.write("failed", error=traceback.format_exc())
            raise
    del armed
