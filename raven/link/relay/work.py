"""Work: what a relay does with the bus file, in the store thread: take in, tell, look for mail, publish."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from raven.errors import RavenError
from raven.link import envelope
from raven.link.relay.outward import Outward, Posting, Sent
from raven.link.relay.whereabouts import Whereabouts
from raven.model import clock
from raven.model.limits import is_integer

if TYPE_CHECKING:
    from raven.exchange.exchange import Exchange
    from raven.exchange.values import Confirmation
    from raven.link.relay.store_thread import Job

# Frames in one envelope, and in one transaction that hands over or takes in.
_FRAMES, _FRAMES_BYTES = 200, 512 << 10
# Mail that was sent so long ago has piled up, and local mail goes first: after each transaction that takes some of it
# in, the relay rests for some times as long, and local programs have the file and the processor.
_LATE_S, _REST_TIMES, _MAX_REST_S = 5.0, 12.0, 0.12
# After the first receipt others come: they share one transaction and one envelope.
_TELL_AFTER_S = 0.003
# How often the relay looks whether loops have come or gone, and at everything else.
_GLANCE_S, _TICK_S = 0.25, 1.0
_FIRST_PAUSE_S, _MAX_PAUSE_S = 0.1, 30.0
_NEVER = float("inf")


class Arrival(NamedTuple):
    """An envelope of another host, the messages of the server that held it, and the length of its text in bytes."""

    envelope: envelope.Envelope
    parcels: Sequence[Any]
    size: int


class Orders(NamedTuple):
    """Tasks of the event loop: envelopes to publish, others to ack, signs by host, and the pages of the card."""

    postings: list[Posting]
    acks: list[Arrival]
    signs: list[tuple[str, bytes]]
    cards: list[tuple[str, bytes]]


class Work:
    """The relay's side of the bus file. All methods but the constructor are called in the store thread.

    `open_exchange` opens the bus file. `carry_out` hands tasks to the event loop. `run` marks this run of the relay.
    """

    def __init__(
        self, open_exchange: Callable[[], Exchange], carry_out: Callable[[Orders], None], host: str, run: str
    ) -> None:
        self._open_exchange = open_exchange
        self._carry_out = carry_out
        self._host = host
        self._run = run
        self.trouble: dict[str, str] = {}  # by task: the error of its last try
        self.wants_answers = False  # whether frames wait until the server has answered for others
        self._outward: dict[str, Outward] = {}
        self._arrivals: defaultdict[str, list[Arrival]] = defaultdict(list)
        self._rests_until: dict[str, float] = {}  # by host whose mail is late
        self._received: dict[str, Confirmation] = {}
        self._limited: set[str] = set()  # hosts with a full window, for which mail waits
        self._max_payload = 0  # 0: there is no connection
        self._must_look = True
        self._tell_at = _NEVER
        self._glance_at = self._tick_at = 0.0
        self._paused: dict[str, tuple[float, float]] = {}  # by task: until when, and for how long

    # The store thread calls these.

    def open(self) -> None:
        """Open the bus file, and the bells."""
        self.exchange = self._open_exchange()
        self._doors = self.exchange.doors()
        self._receipts = self.exchange.receipt_listener()
        self.whereabouts = Whereabouts(self.exchange, self._doors, self._host, self._run)
        self._received = {host: state.confirmation for host, state in self.exchange.hosts().items()}
        self._note_frames(self._received)

    def bells(self) -> Mapping[int, Job]:
        """Return the descriptors of the bells."""
        return {self._doors.fileno(): self._on_door, self._receipts.fileno(): self._on_receipt}

    def step(self) -> float:
        """Do all that is due; return the seconds until more is."""
        now = time.monotonic()
        orders = Orders([], [], [], [])
        for host in self._awaited(now):
            self._attempt(f"take in mail of {host}", partial(self._take_in, host, orders))
        if now >= self._tick_at:
            self._tick_at, self._glance_at = now + _TICK_S, now + _GLANCE_S
            self._attempt("look at the bus", self._tick)
        elif now >= self._glance_at:
            self._glance_at = now + _GLANCE_S
            self._attempt("look at the loops", self._glance)
        if now >= self._tell_at:
            self._attempt("tell news", self._tell)
        if self._max_payload:
            if self._must_look:
                self._attempt("hand mail over", self._look)
            self._attempt("read frames", partial(self._publish, now, orders))
            if now >= self.whereabouts.due_at():
                self._write_card(orders)
        if any(orders):
            self._carry_out(orders)
        return self._due_s()

    def close(self) -> None:
        """Close the bells and the file."""
        for name in ("_doors", "_receipts", "exchange"):
            part = getattr(self, name, None)
            if part is not None:
                part.close()

    # Jobs, which the event loop submits.

    def connect(self, max_payload: int) -> None:
        """Publish from now on, in messages of so many bytes at most."""
        self._max_payload = max_payload
        self.whereabouts.expire_card()
        for outward in self._outward.values():
            outward.resume()
        self._must_look = True

    def disconnect(self) -> None:
        """Publish no more, until the next `connect`."""
        self._max_payload = 0

    def leave(self) -> None:
        """Write what is left to write, and put the last card."""
        self._attempt("confirm", lambda: self._note_frames(self.exchange.flush()))
        if self._max_payload:
            orders = Orders([], [], [], [])
            self._write_card(orders, is_leaving=True)
            self._carry_out(orders)

    def set_offset(self, offset_us: int) -> None:
        """Take how far the clock of the server is ahead of this host's."""
        self.exchange.offset_us = offset_us

    def receive(self, sender: str, arrival: Arrival) -> None:
        """Take an envelope of another host; it is acked once it is committed."""
        self._arrivals[sender].append(arrival)

    def hear(self, host: str, said: Confirmation, *, is_gap: bool = False) -> None:
        """Take another host's word on the last frame that it has committed."""
        self.exchange.confirmed(host, said)
        self._outward_of(host).hear(said.epoch, said.number, time.monotonic(), is_gap=is_gap)
        if host in self._limited:
            self._limited.discard(host)
            self._must_look = True

    def meet(self, key: str, data: bytes | None, age_s: float | None = None) -> None:
        """Take a card of the bucket, put `age_s` seconds ago, or just now if it is None; see Whereabouts.meet."""
        has_changed, said = self.whereabouts.meet(key, data, age_s)
        host = key.partition(".")[0]
        if said is not None and (age_s is None or self._is_further(host, said)):
            self.hear(host, said)
        self._must_look |= has_changed

    def answered(self, host: str, sent: Sent, error: RavenError | None) -> None:
        """Note whether the server has stored an envelope."""
        outward, task = self._outward_of(host), f"publish for {host}"
        if error is None:
            outward.stored(sent)
            self.trouble.pop(task, None)
        else:
            outward.lost(sent, time.monotonic())
            self.trouble[task] = str(error)

    def snapshot(self) -> dict[str, Any]:
        """Return how the links to the other hosts fare, for the status file."""
        now = time.monotonic()
        hosts = {}
        for host in sorted({*self.whereabouts.cards.hosts, *self._outward}):
            card, outward = self.whereabouts.cards.hosts.get(host), self._outward.get(host)
            hosts[host] = {
                "is_alive": card is not None and card.is_fresh(now),
                "heard_s": None if card is None else round(now - card.heard_at, 1),
                "raven": None if card is None else card.raven,
                "addresses": 0 if card is None else len(card.at_home),
                "published": 0 if outward is None else outward.cursor,
                "again": 0 if outward is None else outward.again,
                "refused": 0 if outward is None else outward.refused,
            }
        return {
            "bus": self.exchange.bus_id,
            "offset_us": self.exchange.offset_us,
            "addresses": len(self.whereabouts.own),
            "card_bytes": self.whereabouts.card_bytes,
            "has_doors": not self._doors.has_fallback,
            "trouble": dict(self.trouble),
            "dropped_cards": dict(self.whereabouts.cards.dropped),
            "hosts": hosts,
        }

    def _is_further(self, host: str, said: Confirmation) -> bool:
        """Whether a host's word of some time ago tells more than is known here."""
        state = self.exchange.hosts().get(host)
        return state is not None and said.epoch == state.epoch and said.number > state.confirmed

    # The tasks of a step.

    def _on_door(self) -> None:
        self._doors.drain()
        self._must_look = True

    def _on_receipt(self) -> None:
        self._receipts.drain()
        self._tell_soon()

    def _tell_soon(self) -> None:
        self._tell_at = min(self._tell_at, time.monotonic() + _TELL_AFTER_S)

    def _take_in(self, host: str, orders: Orders) -> None:
        arrivals = _first_few(self._arrivals[host])
        incoming = [arrival.envelope.incoming for arrival in arrivals]
        for arrival in arrivals:
            if arrival.envelope.confirmation is not None:
                self.hear(host, arrival.envelope.confirmation)
        # Before a consumer can reply.
        self._must_look |= self.whereabouts.await_replies(frame for one in incoming for frame in one.frames)
        began = time.monotonic()
        taken = self.exchange.take_in(host, incoming)
        if self._is_late(arrivals[0]):
            now = time.monotonic()
            self._rests_until[host] = now + min(_REST_TIMES * (now - began), _MAX_REST_S)
        del self._arrivals[host][: len(arrivals)]
        if not self._arrivals[host]:
            del self._arrivals[host]
        orders.acks.extend(arrivals)
        self._received[host] = taken.confirmation
        orders.signs.append((host, envelope.encode_sign(taken.confirmation, taken.is_behind)))
        if taken.refused:
            self._tell_soon()

    def _awaited(self, now: float) -> list[str]:
        """Return the hosts whose mail is to be taken in now."""
        self._rests_until = {host: until for host, until in self._rests_until.items() if until > now}
        return [host for host in self._arrivals if host not in self._rests_until]

    def _is_late(self, arrival: Arrival) -> bool:
        """Whether an envelope begins with a message that was sent long ago."""
        frame = next(iter(arrival.envelope.incoming.frames), None)
        late = clock.now() + self.exchange.offset_us - clock.to_micros(_LATE_S)
        return isinstance(frame, dict) and is_integer(frame.get("at"), 0, late)

    def _tell(self) -> None:
        self._note_frames(self.exchange.tell())
        self._tell_at = _NEVER

    def _look(self) -> None:
        """Hand over the mail that may leave to the hosts where it is likely to be handled first."""
        self.whereabouts.glance()
        found = self.exchange.outgoing()
        self._must_look = False
        if not found:
            return
        ready = {one.address: one.ready for one in found}
        shares = defaultdict(list)
        for share in self.whereabouts.share_out(found):
            shares[share.host].append(share)
        for host, its in shares.items():
            # In one call: a message to two addresses of a host must not come before an older one to either.
            limits = {address: share.max for share in its for address in share.addresses}
            wanted = sum(ready[address] if limit is None else limit for address, limit in limits.items())
            count = self.exchange.hand_over(host, limits, min(wanted, _FRAMES))
            for share in its:
                self.whereabouts.handed(share, count if share.max is None else min(share.max, count))
            self._note_frames([host] if count else [])
            if not count:
                self._limited.add(host)
            elif count < wanted:
                self._must_look = True  # once other tasks have had their turn

    def _glance(self) -> None:
        self._must_look |= self.whereabouts.glance()
        if self._receipts.has_fallback:
            self._tell()

    def _tick(self) -> None:
        """Look at everything, as often as once a second."""
        self.exchange.maintain()
        self.whereabouts.tick()
        self._receipts.tick()
        self._tell()
        back = self.whereabouts.to_give_back()
        if back:
            self._note_frames(self.exchange.give_back(back))
        self._note_frames(self.exchange.flush())
        for host, state in self.exchange.hosts().items():  # another process may have made frames
            outward = self._outward_of(host)
            outward.wants_more |= (outward.epoch, outward.cursor) != (state.epoch, state.sent)
        self._must_look = True

    def _publish(self, now: float, orders: Orders) -> None:
        self._note_frames(self.exchange.began_anew)
        for host, outward in self._outward.items():
            while outward.wants_more and outward.may_publish(now):
                batch = self.exchange.frames(host, outward.cursor, _FRAMES, _FRAMES_BYTES)
                if outward.begin(batch.epoch):
                    batch = self.exchange.frames(host, 0, _FRAMES, _FRAMES_BYTES)
                if not batch.frames:
                    outward.wants_more = False
                    break
                parts = envelope.encode(batch, self._received.get(host), self._max_payload)
                sent = outward.publish(batch.frames[0].number, batch.frames[-1].number, now)
                orders.postings.append(Posting(host, parts, sent))
        self.wants_answers = any(outward.wants_more for outward in self._outward.values())

    def _write_card(self, orders: Orders, *, is_leaving: bool = False) -> None:
        pages = self.whereabouts.write_card(self._received, self._max_payload, is_leaving=is_leaving)
        orders.cards.extend(pages.items())

    def _note_frames(self, hosts: Iterable[str]) -> None:
        for host in hosts:
            self._outward_of(host).wants_more = True

    def _outward_of(self, host: str) -> Outward:
        outward = self._outward.get(host)
        if outward is None:
            outward = self._outward[host] = Outward(host)
        return outward

    def _attempt(self, task: str, run: Callable[[], None]) -> None:
        """Run a task, unless it has failed lately: after a full disk or a busy file it is tried again later."""
        until, pause_s = self._paused.get(task, (0.0, 0.0))
        if time.monotonic() < until:
            return
        try:
            run()
        except RavenError as error:
            if not error.retryable:
                raise
            pause_s = min(2 * pause_s or _FIRST_PAUSE_S, _MAX_PAUSE_S)
            self._paused[task] = (time.monotonic() + pause_s, pause_s)
            self.trouble[task] = str(error)
        else:
            if pause_s:
                del self._paused[task]
                del self.trouble[task]

    def _due_s(self) -> float:
        """Return the seconds until a step is due."""
        now = time.monotonic()
        pauses = [until for until, _ in self._paused.values() if until > now]
        due = [self._glance_at, self._tick_at, *pauses]
        if not pauses:
            is_due = bool(self._awaited(now)) or (self._must_look and self._max_payload)
            due += [now if is_due else self._tell_at, *self._rests_until.values()]
        if self._max_payload:
            due.append(self.whereabouts.due_at())
            due += [now + pause_s for one in self._outward.values() if (pause_s := one.due_s(now)) is not None]
        return max(0.0, min(due) - now)


def _first_few(arrivals: Sequence[Arrival]) -> list[Arrival]:
    """Return the envelopes for one transaction: few frames, so that local writers do not wait for long."""
    frames = 0
    for index, arrival in enumerate(arrivals, 1):
        frames += len(arrival.envelope.incoming.frames)
        if frames >= _FRAMES:
            return [*arrivals[:index]]
    return [*arrivals]
