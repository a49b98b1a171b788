"""Chronicle: makes a history of the events that all processes have written down."""

from __future__ import annotations

from collections.abc import Iterable

from scripts.stress.history.history import Ack, History, Life, Look, Post, Receipt, Sending
from scripts.stress.history.journal import Event

# Only that the life was there.
_TELL_NOTHING = ("nacked", "keyed", "kept", "dying", "looked", "stopped")


def history_of(events: Iterable[Event], look: Look) -> History:
    """Put the events of all lives in order."""
    made = History(look)
    tracks: dict[str, _Track] = {}
    for event in events:
        if event.what in ("began", "ended"):
            _note(made, event)
            continue
        track = tracks.get(event.life)
        if track is None:
            track = tracks[event.life] = _Track(made, made.lives.setdefault(event.life, Life(event.life)))
        track.follow(event)
    return made


def _note(made: History, event: Event) -> None:
    name = event.told["life"]
    life = made.lives.setdefault(name, Life(name))
    if event.what == "began":
        life.began, life.began_wall = event.at, event.wall
    else:
        life.ended, life.ended_wall, life.was_killed = event.at, event.wall, event.told["code"] == -9


class _Track:
    """Follows one life through its events."""

    def __init__(self, made: History, life: Life) -> None:
        self._made = made
        self._life = life
        self._sendings: dict[int, Sending] = {}
        self._acks: dict[int, Ack] = {}
        self._asked: list[float] = []  # of each receipt of the loop it is in
        self._asks = 0.0
        self._held: dict[int, Receipt] = {}

    def follow(self, event: Event) -> None:
        if event.what not in _TELL_NOTHING:
            step = getattr(self, f"_{event.what}", None)
            if step is None:
                raise ValueError(f"{event.life}: nobody knows what the event {event.what!r} is")
            step(event)
        if event.what not in ("dying", "failed"):
            self._life.heard, self._life.heard_wall = event.at, event.wall

    def _consuming(self, event: Event) -> None:
        for name, value in event.told.items():
            setattr(self._life, name, value)
        self._asks, self._asked = event.at, []

    def _asking(self, event: Event) -> None:
        self._asks = event.at

    def _received(self, event: Event) -> None:
        self._asked.append(self._asks)
        first = max(0, len(self._asked) - 1 - self._life.ahead)
        receipt = Receipt(
            self._life.name, self._life.address, asked=self._asks, fetched=self._asked[first], at=event.at, **event.told
        )
        self._made.receipts.append(receipt)
        self._held[receipt.id] = receipt

    def _acking(self, event: Event) -> None:
        told = event.told
        self._free(told["id"], event.at)
        ack = self._acks[told["call"]] = Ack(self._life.name, self._life.address, told["id"], told["lease"], event.at)
        self._made.acks.append(ack)

    def _acked(self, event: Event) -> None:
        ack = self._acks.pop(event.told["call"])
        ack.end, ack.outcome = event.at, "done"

    def _nacking(self, event: Event) -> None:
        self._free(event.told["id"], event.at)

    def _leaving(self, event: Event) -> None:
        for id in list(self._held):
            self._free(id, event.at)

    def _sending(self, event: Event) -> None:
        posts = tuple(Post(token, tuple(to), *rest) for token, to, *rest in event.told["posts"])
        sending = Sending(self._life.name, event.at, posts, event.told["key"])
        self._sendings[event.told["call"]] = sending
        self._made.sendings.append(sending)

    def _sent(self, event: Event) -> None:
        sending = self._sendings.pop(event.told["call"])
        sending.end, sending.outcome, sending.ids = event.at, "done", tuple(event.told["ids"])

    def _refused(self, event: Event) -> None:
        for done in (self._sendings.pop(event.told["call"], None), self._acks.pop(event.told["call"], None)):
            if done is not None:
                done.end, done.outcome = event.at, "refused"

    def _failed(self, event: Event) -> None:
        self._made.failures.append(f"{self._life.name} failed: {event.told['error']}")

    def _free(self, id: int, at: float) -> None:
        receipt = self._held.pop(id, None)
        if receipt is not None:
            receipt.freed = at
