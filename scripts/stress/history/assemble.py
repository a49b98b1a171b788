"""Assemble: one history from the events of all processes."""

from __future__ import annotations

from collections.abc import Iterable

from scripts.stress.history.history import Ack, BusDump, History, Process, Reception, Sending, SentMessage
from scripts.stress.history.journal import Event

# These events say only that the process was alive.
_WITHOUT_EFFECT = ("nacked", "keyed", "kept", "dying", "looked", "stopped")


def history_of(events: Iterable[Event], dump: BusDump) -> History:
    """Return the history of all processes; the events of each process come in the order of time."""
    history = History(dump)
    readers: dict[str, _ProcessReader] = {}
    for event in events:
        if event.type in ("began", "ended"):
            _record_start_or_end(history, event)
            continue
        reader = readers.get(event.process)
        if reader is None:
            process = history.processes.setdefault(event.process, Process(event.process))
            reader = readers[event.process] = _ProcessReader(history, process)
        reader.read(event)
    return history


def _record_start_or_end(history: History, event: Event) -> None:
    name = event.fields["process"]
    process = history.processes.setdefault(name, Process(name))
    if event.type == "began":
        process.began, process.began_wall = event.at, event.wall
    else:
        process.ended, process.ended_wall = event.at, event.wall
        process.was_killed = event.fields["code"] == -9


class _ProcessReader:
    """Adds the events of one process to a history."""

    def __init__(self, history: History, process: Process) -> None:
        self._history = history
        self._process = process
        self._sendings: dict[int, Sending] = {}
        self._acks: dict[int, Ack] = {}
        self._asked_at = 0.0
        self._ask_times: list[float] = []  # for each reception of the current loop
        self._unreleased: dict[int, Reception] = {}

    def read(self, event: Event) -> None:
        """Add one event."""
        if event.type not in _WITHOUT_EFFECT:
            add = getattr(self, f"_{event.type}", None)
            if add is None:
                raise ValueError(f"{event.process}: unknown event type {event.type!r}")
            add(event)
        if event.type not in ("dying", "failed"):
            self._process.last_event, self._process.last_event_wall = event.at, event.wall

    def _consuming(self, event: Event) -> None:
        for name, value in event.fields.items():
            setattr(self._process, name, value)
        self._asked_at, self._ask_times = event.at, []

    def _asking(self, event: Event) -> None:
        self._asked_at = event.at

    def _received(self, event: Event) -> None:
        self._ask_times.append(self._asked_at)
        first = max(0, len(self._ask_times) - 1 - self._process.prefetch)
        reception = Reception(
            self._process.name,
            self._process.address,
            asked=self._asked_at,
            fetched=self._ask_times[first],
            at=event.at,
            **event.fields,
        )
        self._history.receptions.append(reception)
        self._unreleased[reception.id] = reception

    def _acking(self, event: Event) -> None:
        id, lease = event.fields["id"], event.fields["lease"]
        self._release(id, event.at)
        ack = Ack(self._process.name, self._process.address, id, lease, event.at)
        self._acks[event.fields["call"]] = ack
        self._history.acks.append(ack)

    def _acked(self, event: Event) -> None:
        ack = self._acks.pop(event.fields["call"])
        ack.end, ack.outcome = event.at, "done"

    def _nacking(self, event: Event) -> None:
        self._release(event.fields["id"], event.at)

    def _leaving(self, event: Event) -> None:
        for id in list(self._unreleased):
            self._release(id, event.at)

    def _sending(self, event: Event) -> None:
        messages = tuple(SentMessage(token, tuple(to), *rest) for token, to, *rest in event.fields["messages"])
        sending = Sending(self._process.name, event.at, messages, event.fields["key"])
        self._sendings[event.fields["call"]] = sending
        self._history.sendings.append(sending)

    def _sent(self, event: Event) -> None:
        sending = self._sendings.pop(event.fields["call"])
        sending.end, sending.outcome, sending.ids = event.at, "done", tuple(event.fields["ids"])

    def _refused(self, event: Event) -> None:
        for call in (self._sendings.pop(event.fields["call"], None), self._acks.pop(event.fields["call"], None)):
            if call is not None:
                call.end, call.outcome = event.at, "refused"

    def _failed(self, event: Event) -> None:
        self._history.failures.append(f"{self._process.name} failed: {event.fields['error']}")

    def _release(self, id: int, at: float) -> None:
        reception = self._unreleased.pop(id, None)
        if reception is not None:
            reception.released = at
