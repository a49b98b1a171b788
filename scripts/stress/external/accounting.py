"""Accounting: the sent, stored and received messages of a bus whose file was replaced by others.

The history checker cannot judge such a bus: a replacement file gives the ids of the lost messages to other messages.
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
    """Yield every broken promise; `spans` are the time spans in which the file was replaced.

    A message sent within a span may be stored or not, and a received message may come again. An ack that was under way
    during a span may finish the message that has this id in the new file: so many messages may never be received.
    """
    allowed_missing = {
        ADDRESSES["auto"]: 0,
        ADDRESSES["manual"]: len(spans),
        ADDRESSES["socket"]: WINDOW * len(spans),
    }
    sendings = {sending.messages[0].token: sending for sending in history.sendings}
    to = {token: sending.messages[0].to[0] for token, sending in sendings.items()}
    sent = {
        token: sending.ids[0]
        for token, sending in sendings.items()
        if sending.outcome == "done" and not any(sending.begin < end and sending.end > start for start, end in spans)
    }
    refused = {token for token, sending in sendings.items() if sending.outcome == "refused"}
    counts = Counter(message.token for message in history.dump.messages)
    ids = {message.token: message.id for message in history.dump.messages}
    for failure in history.failures:
        yield Verdict("broken", failure)
    duplicated = (token for token, count in counts.items() if count > 1)
    renumbered = (token for token, id in sent.items() if ids.get(token, id) != id)
    yield from _one_verdict("lost", "was sent, and is not in the bus", sent.keys() - counts.keys())
    yield from _one_verdict("duplicated", "is in the bus more than once", duplicated)
    yield from _one_verdict("broken", "was refused, and is in the bus", refused & counts.keys())
    yield from _one_verdict("broken", "has another id in the bus", renumbered)
    for address in ADDRESSES.values():
        received = {reception.token for reception in history.receptions if reception.address == address}
        missing = {token for token in counts if to.get(token) == address} - received
        if len(missing) > allowed_missing[address]:
            yield from _one_verdict("lost", f"was never received at {address}", missing)
        misdirected = (token for token in received if to.get(token) != address)
        yield from _one_verdict("broken", f"was received at {address}, and not sent to it", misdirected)


def _one_verdict(kind: Kind, text: str, tokens: Iterable[str]) -> Iterator[Verdict]:
    """Yield one verdict for all tokens, or none if there are no tokens."""
    names = sorted(tokens)
    if names:
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        yield Verdict(kind, f"{', '.join(names[:_SHOWN])}{more} {text}")
