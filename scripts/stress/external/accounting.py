"""Tally: a plain count of what was sent, stored and received while other files took the place of the bus.

The checker of histories cannot judge that: the file that comes gives the ids of the one that went to other messages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from scripts.stress.external.traffic_process import ADDRESSES, WINDOW
from scripts.stress.history.history import History
from scripts.stress.history.verdict import Verdict
from scripts.stress.outcome import Kind

_SHOWN = 5


def verdicts(history: History, spans: Sequence[tuple[float, float]]) -> Iterator[Verdict]:
    """Yield every promise that was not kept.

    What was sent within one of the spans, in which another file took the place of the bus, may be there or not. What
    is received may come again. An ack of what was in hand in that time, or on its way over the socket, finishes the
    message that bears its id in the new file: so many may be received by no one.
    """
    spared = {ADDRESSES["auto"]: 0, ADDRESSES["manual"]: len(spans), ADDRESSES["socket"]: WINDOW * len(spans)}
    sendings = {sending.posts[0].token: sending for sending in history.sendings}
    to = {token: sending.posts[0].to[0] for token, sending in sendings.items()}
    sent = {
        token: sending.ids[0]
        for token, sending in sendings.items()
        if sending.outcome == "done" and not any(sending.begin < end and sending.end > start for start, end in spans)
    }
    refused = {token for token, sending in sendings.items() if sending.outcome == "refused"}
    counts = Counter(message.token for message in history.look.messages)
    ids = {message.token: message.id for message in history.look.messages}
    for failure in history.failures:
        yield Verdict("broken", failure)
    yield from _said("lost", "was sent, and is not in the bus", sent.keys() - counts.keys())
    yield from _said("duplicated", "is in the bus more than once", (t for t, count in counts.items() if count > 1))
    yield from _said("broken", "was refused, and is in the bus", refused & counts.keys())
    yield from _said("broken", "has another id in the bus", (t for t, id in sent.items() if ids.get(t, id) != id))
    for address in ADDRESSES.values():
        took = {receipt.token for receipt in history.receipts if receipt.address == address}
        missing = {token for token in counts if to.get(token) == address} - took
        if len(missing) > spared[address]:
            yield from _said("lost", f"was never received at {address}", missing)
        yield from _said("broken", f"came to {address} from elsewhere", (t for t in took if to.get(t) != address))


def _said(kind: Kind, what: str, tokens: Iterable[str]) -> Iterator[Verdict]:
    """Yield one verdict for all tokens of which the same is true."""
    names = sorted(tokens)
    if names:
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        yield Verdict(kind, f"{', '.join(names[:_SHOWN])}{more} {what}")
