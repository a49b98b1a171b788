"""Run raven with a fault or another version planted in its link: `planted FAULT ARGUMENTS-OF-RAVEN...`.

The trial must find the faults: `commits-numbers-first` and `ignores-tags`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

from raven.cli.main import main
from raven.exchange import intake
from raven.exchange.confirmations import Confirmations
from raven.exchange.exchange import Exchange
from raven.exchange.values import Confirmation, HostState, Incoming, TakenIn
from raven.link import cards

# So often a fault shows.
_EVERY = 2


def commit_numbers_first() -> None:
    """Commit the numbers of some frames without their messages, as a relay that acks and dies before its commit."""
    admit_all, calls = intake._admit_all, count(1)

    def admit_most(tx: Any, terms: Any, host: str, messages: Sequence[Any], counts: Any) -> None:
        if not messages or next(calls) % _EVERY:
            admit_all(tx, terms, host, messages, counts)

    intake._admit_all = admit_most


def ignore_tags() -> None:
    """Tell frames apart by their numbers alone."""
    take_in, number_of = Exchange.take_in, intake.number_of

    def take_in_untagged(self: Exchange, host: str, envelopes: Sequence[Incoming]) -> TakenIn:
        return take_in(self, host, [one._replace(tag_before=0) for one in envelopes])

    def number_alone(frame: Any) -> tuple[int, int] | None:
        numbered = number_of(frame)
        return numbered and (numbered[0], 0)

    def is_contradiction(self: Confirmations, tx: Any, state: HostState, said: Confirmation) -> bool:
        return said.epoch > state.epoch or (said.epoch == state.epoch and said.number > state.sent)

    Exchange.take_in = take_in_untagged  # type: ignore[method-assign]
    intake.number_of = number_alone
    Confirmations._is_contradiction = is_contradiction  # type: ignore[method-assign]


def speak_newer() -> None:
    """Put cards of a later version, with fields that no earlier one knows."""
    _change_cards(lambda page: {**page, "v": 7, "later": {"n": [1, 2]}})


def speak_older() -> None:
    """Put cards of a version before the first."""
    _change_cards(lambda page: {**page, "v": 0})


def _change_cards(change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    write = cards.write

    def write_changed(*arguments: Any, **options: Any) -> Any:
        written = write(*arguments, **options)
        pages = {key: json.dumps(change(json.loads(page))).encode() for key, page in written.pages.items()}
        return written._replace(pages=pages)

    cards.write = write_changed


FAULTS = {
    "commits-numbers-first": commit_numbers_first,
    "ignores-tags": ignore_tags,
    "newer-wire": speak_newer,
    "older-wire": speak_older,
}

if __name__ == "__main__":
    FAULTS[sys.argv.pop(1)]()
    sys.argv[0] = os.path.basename(sys.argv[0])
    main()
