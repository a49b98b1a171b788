"""Tally: a plain count of what was sent, stored and received, by the journals of correspondents and by the files."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from raven import BusObserver
from scripts.trials.foreign.correspondent import ADDRESSES, WINDOW
from scripts.trials.history.journal import Event
from scripts.trials.history.verdict import Verdict
from scripts.trials.outcome import Kind

_TAKES = {"auto": "auto", "manual": "manual", "listener": "socket"}
_SHOWN = 5


def stored(path: str) -> tuple[Counter[str], dict[str, int]]:
    """Return how often each token is in a bus, and under which id it is there last."""
    counts: Counter[str] = Counter()
    ids: dict[str, int] = {}
    with BusObserver(path) as bus:
        for message in bus.tail(follow=False):
            if message.type == "note":
                counts[message.body[0]] += 1
                ids[message.body[0]] = message.id
    return counts, ids


def verdicts(
    events: Iterable[Event],
    counts: Counter[str],
    ids: dict[str, int],
    *,
    kills: int = 0,
    excused: Sequence[tuple[float, float]] = (),
) -> Iterator[Verdict]:
    """Yield every promise that was not kept.

    Of the mail that is acked as it is taken, each kill may cost one message. What was sent within an `excused` span, in
    which another file took the place of the bus, may be there or not; then what is received may also come again. And an
    ack of what was in hand at that time, or on its way over the socket, finishes what bears its id in the new file.
    """
    spared = {"auto": kills, "manual": len(excused), "listener": WINDOW * len(excused)}
    sent: dict[str, int] = {}
    refused: set[str] = set()
    to: dict[str, str] = {}
    begun: dict[str, float] = {}
    received: dict[str, list[tuple[str, int, str]]] = defaultdict(list)
    for event in sorted(events, key=lambda event: event.at):
        told = event.told
        if event.what == "sending":
            to[told["token"]], begun[told["token"]] = told["to"], event.at
        elif event.what == "sent":
            if not any(begun[told["token"]] < end and event.at > start for start, end in excused):
                sent[told["token"]] = told["id"]
        elif event.what == "refused":
            refused.add(told["token"])
        elif event.what == "received":
            received[event.life.rpartition(".")[2]].append((event.life, told["id"], told["token"]))
        elif event.what == "failed":
            yield Verdict("broken", f"{event.life} failed: {told['error']}")
        elif event.what == "looked" and told["orphans"]:
            yield Verdict("lost", f"{event.life} saw {told['orphans']} messages without a delivery")
    yield from _said("lost", "was sent, and is not in the bus", sent.keys() - counts.keys())
    yield from _said("doubled", "is in the bus more than once", (token for token, count in counts.items() if count > 1))
    yield from _said("broken", "was refused, and is in the bus", refused & counts.keys())
    yield from _said(
        "broken", "has another id in the bus", (t for t, id in sent.items() if id and ids.get(t, id) != id)
    )
    for name, to_name in _TAKES.items():
        address = ADDRESSES[to_name]
        took = Counter(token for _, _, token in received[name])
        missing = {token for token in counts if to.get(token) == address} - took.keys()
        if len(missing) > spared[name]:
            yield from _said("lost", f"was never received at {address}", missing)
        yield from _said("broken", f"came to {address} from elsewhere", (t for t in took if to.get(t) != address))
        if not excused:
            if name == "auto":
                twice = (token for token, count in took.items() if count > 1)
                yield from _said("doubled", f"was received at {address} more than once", twice)
            yield from _said("reordered", f"came to {address} after a later one", _late(received[name]))


def _late(took: Iterable[tuple[str, int, str]]) -> Iterator[str]:
    """Yield what came for the first time after one of a larger id had come, of what was sent in the same phase.

    What was on its way when a consumer was killed comes again when its lease is over, whatever came meanwhile.
    """
    highest, seen = 0, set()
    for life, id, token in took:
        if life.partition("-")[0] == token.partition("-")[0]:
            if id < highest and token not in seen:
                yield token
            highest = max(highest, id)
        seen.add(token)


def _said(kind: Kind, what: str, tokens: Iterable[str]) -> Iterator[Verdict]:
    """Yield one verdict for all tokens of which the same is true."""
    names = sorted(tokens)
    if names:
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        yield Verdict(kind, f"{', '.join(names[:_SHOWN])}{more} {what}")
