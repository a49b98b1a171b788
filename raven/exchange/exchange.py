"""Exchange: the store half of a link between the buses of several hosts; it knows no network.

A relay calls it: `outgoing` says which mail may leave, `hand_over` holds it for a host and numbers it in frames,
`frames` returns these, `take_in` commits the frames of another host, and `tell` makes frames with the news of it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self

from raven import config
from raven.config import Config, Durability, check_ttl
from raven.errors import InputError, abbreviate
from raven.exchange import handover, hosts, intake, news, outgoing, overview, schema
from raven.exchange.confirmations import Confirmations
from raven.exchange.values import (
    Batch,
    Confirmation,
    Home,
    HostOverview,
    HostState,
    Incoming,
    Outgoing,
    Returnable,
    TakenIn,
    Terms,
)
from raven.model.limits import is_integer
from raven.observer import settle
from raven.store.database import Store
from raven.wake.doorbell import ALL_TRAFFIC, Doorbells
from raven.wake.handle import Handle
from raven.wake.maintenance import Maintenance

if TYPE_CHECKING:
    from raven.store.transaction import Transaction
    from raven.wake.doors import Doors

_MAX_FRAMES = 1_000_000


class Exchange:
    """The mail between this host's bus and the buses of other hosts; every method is one transaction, or reads.

    `host` is the name of this host: 1 to 40 of the characters a-z, 0-9 and -. `sessions` are patterns of the sessions
    that take part. `accept` maps a host to patterns of the senders that it may name; None: any host may name any
    sender. At most `window` frames, of about `window_bytes`, wait for the confirmation of one host. A longer body than
    `max_body_bytes` from another host is refused. `maintain` unregisters an address that no client has used for
    `identity_ttl_s`; None: the setting, or never if a `db_path` is given.

    Two rules hold. A frame that `frames` returns is on this host's disk. A frame that `take_in` confirms is on this
    host's disk, with the message or the news in it. Both need `durability="full"` to hold after a loss of power.

    `offset_us` is the clock of the server between the hosts minus this host's, in microseconds: frames have the
    server's times, rows this host's. `began_anew` are the hosts whose frames have new numbers since the last `flush`.
    Methods raise DatabaseError; then nothing was changed.
    """

    def __init__(
        self,
        db_path: str | None,
        host: str,
        *,
        sessions: Sequence[str] = ("*",),
        accept: Mapping[str, Sequence[str]] | None = None,
        window: int = 2000,
        window_bytes: int = 8 << 20,
        durability: Durability = "full",
        busy_timeout_s: float | None = None,
        max_body_bytes: int | None = None,
        identity_ttl_s: float | None = None,
    ) -> None:
        hosts.check_host(host)
        for name, value in (("window", window), ("window_bytes", window_bytes)):
            if not is_integer(value, 1, 1 << 40):
                raise InputError(f"{name} {abbreviate(value)} is no whole number, 1 or more")
        settings = config.load() if db_path is None else Config(db=str(db_path), db_source="the program")
        ttl_s = settings.identity_ttl_s if identity_ttl_s is None else check_ttl("identity_ttl_s", identity_ttl_s)
        accepted = None if accept is None else {one: tuple(patterns) for one, patterns in accept.items()}
        self.host = host
        max_body_bytes = settings.max_body_bytes if max_body_bytes is None else max_body_bytes
        self._terms = Terms(host, tuple(sessions), accepted, window, window_bytes, max_body_bytes)
        self._store = Store(
            settings.db,
            busy_timeout_s=settings.busy_timeout_s if busy_timeout_s is None else busy_timeout_s,
        )
        self._is_durable = durability == "full"
        self._doorbells = doorbells = Doorbells(self._store.path)
        self._handle = Handle(self._store, doorbells, lambda store: settle(store, doorbells, ttl_s))
        self._maintenance = Maintenance(doorbells, self._handle.on_idle, trims_idle=True)
        self._windows: dict[str, handover.Window] = {}
        self._confirmations = Confirmations(self._terms)
        self._leaving = outgoing.Leaving()
        self._receipts: news.ReceiptListener | None = None
        self.began_anew: set[str] = set()
        try:
            self.bus_id = schema.begin(self._store)
        except BaseException:
            self._store.close()
            raise

    @property
    def db_path(self) -> str:
        """The absolute path of the bus file."""
        return self._store.path

    @property
    def offset_us(self) -> int:
        """The server's clock minus this host's, in microseconds."""
        return self._terms.offset_us

    @offset_us.setter
    def offset_us(self, offset_us: int) -> None:
        self._terms.offset_us = offset_us

    def hosts(self) -> dict[str, HostState]:
        """Return the linked hosts by name, with the numbers of their frames."""
        return {row[0]: HostState(*row) for row in self._store.rows("link_hosts")}

    def overview(self) -> list[HostOverview]:
        """Return the linked hosts with the deliveries that they have, for people."""
        return overview.overview(self._store)

    def outgoing(self, *, full: bool = False) -> list[Outgoing]:
        """Return the addresses of shared sessions with ready deliveries that may leave: they were sent on this host.

        All addresses with ready mail are examined once a second, or if `full` is set. Between two of these, only the
        addresses of the last result and those with new deliveries are.
        """
        self._store.verify()
        return self._leaving.find(self._store, self._terms, full=full)

    def incoming(self) -> list[Returnable]:
        """Return the addresses with ready deliveries that came from other hosts and may be given back."""
        self._store.verify()
        return outgoing.returnable(self._store)

    def hand_over(self, host: str, addresses: Collection[str] | Mapping[str, int | None], max: int = 200) -> int:
        """Hold the next ready deliveries to some addresses for a host, by urgency, then id, and number them in frames.

        A mapping limits how many deliveries of each address go; None: all. A held delivery is no consumer's on this
        host, until the host tells what became of it. Returns the number of messages that leave, at most `max`, in one
        frame for each, or in one for each 10,000 recipients; 0 if no delivery is ready, or if the window is full. Hand
        all mail for a host over in one call: a message to several recipients has one place in the order of that host,
        that of its first frame. A message over 30 MiB fits into no frame: its deliveries are dead at once.
        """
        self._check_other(host)
        if not is_integer(max, 1, _MAX_FRAMES):
            raise InputError(f"max {abbreviate(max)} is no number of frames: use 1 to {_MAX_FRAMES:,}")
        if not addresses:
            return 0
        limits = addresses if isinstance(addresses, Mapping) else dict.fromkeys(addresses)
        shared = {address: limit for address, limit in limits.items() if self._terms.shares(address)}
        window = self._windows.setdefault(host, handover.Window())

        def step(tx: Transaction) -> tuple[int, list[tuple[int, int]], list[str]]:
            self._begin(tx)
            [(_, has_own)] = tx.rows("has_news", {})
            if has_own:  # a delivery that was taken back must be told before it may go there again
                news.tell_all(tx, self._terms)
            count, sizes, refused = handover.hand_over(tx, self._terms, window, host, shared, max)
            return count, sizes, news.hear(tx, self._terms, hosts.state_of(tx, host), refused) if refused else []

        count, sizes, addresses = self._store.write(step)
        self._sync()
        for number, size in sizes:
            window.add(number, size)
        self._doorbells.ring(addresses)
        return count

    def frames(self, host: str, after: int, max: int = 200, max_bytes: int = 512 << 10) -> Batch:
        """Return the frames for a host after a number that are not confirmed, up to `max` and to `max_bytes`.

        One frame is always returned, whatever its size, if there is one. A number that is confirmed, or not given out,
        stands for the last confirmed one: the caller's cursor may be of an earlier epoch.
        """
        return handover.frames(self._store, self._terms, host, after, max, max_bytes)

    def confirmed(self, host: str, said: Confirmation) -> None:
        """Note which frame a host says that it has committed; the next transaction writes it, or `flush`.

        A word that fits neither file means that one of them is an older copy: then all that the host has is numbered
        anew, see `began_anew`. So pass on only words that are new: an old card may name an earlier frame than a later
        sign did. A host that names no frame of this one has none: pass on Confirmation(0, 0, 0). A malformed word is
        dropped.
        """
        self._confirmations.note(host, said)

    def flush(self) -> set[str]:
        """Write what `confirmed` has noted; returns the hosts that have begun anew since the last call."""
        if self._confirmations.are_noted():
            self._store.write(self._begin)
        begun, self.began_anew = self.began_anew, set()
        if begun:
            self._sync()
        return begun

    def take_in(self, host: str, envelopes: Sequence[Incoming]) -> TakenIn:
        """Commit all frames of a host that follow its last committed one, in one transaction, and ring the doorbells.

        A frame that was committed before is passed over, so that envelopes may come twice and in any order. Frames
        after a gap are not taken. A frame that is malformed, or not allowed here, counts as refused: the host is told
        that its deliveries are dead, and later frames are taken. Whatever a host sends raises no error.
        """
        self._check_other(host)

        def step(tx: Transaction) -> tuple[TakenIn, bool]:
            self._begin(tx)
            return intake.take_in(tx, self._terms, host, envelopes)

        taken, begins_anew = self._store.write(step)
        if begins_anew:
            self.began_anew.add(host)
        # A consumer may begin before the mail is on the disk: after a loss of power both are gone, and the mail comes
        # again, since the host has no confirmation of it.
        self._doorbells.ring(taken.addresses)
        if taken.admitted and self._receipts is not None:
            self._receipts.expect([address for address in taken.addresses if not address.startswith(ALL_TRAFFIC)])
        self._sync()
        return taken

    def tell(self) -> set[str]:
        """Make frames with the news of all deliveries that have changed; returns the hosts that they are for."""
        [(has_news, _)] = self._store.rows("has_news")
        told: set[str] = set()
        while has_news:
            some, has_news = self._store.write(self._tell_some)
            told |= some
        if told:
            self._sync()
        return told

    def give_back(self, addresses: Collection[str]) -> set[str]:
        """Give the ready deliveries to some addresses back to the hosts that they came from, see `incoming`.

        A message is given back at most three times. Returns the hosts with new frames.
        """
        return self._give_back(addresses, news.MAX_RETURNS)[1]

    def give_back_all(self) -> int:
        """Give all ready deliveries back that came from other hosts, however often before; returns their number."""
        addresses = [one.address for one in outgoing.returnable(self._store, news.ALWAYS)]
        return self._give_back(addresses, news.ALWAYS)[0]

    def forget(self, host: str) -> int:
        """Make all deliveries ready again that a host has, and forget the host; returns their number.

        The host may have handled some of them: these are handled twice. Its addresses are unregistered. It stays in
        `forgotten` until `remember`.
        """
        self._check_other(host)
        self._store.write(partial(hosts.mark_forgotten, host=host))
        total, is_done = 0, False
        while not is_done:
            ids, recipients, is_done = self._store.write(partial(_forget_some, host=host))
            total += len(ids)
            self._doorbells.ring([*recipients, ALL_TRAFFIC])
        self._windows.pop(host, None)
        return total

    def forgotten(self) -> set[str]:
        """Return the hosts that were forgotten: a card that they have left behind no longer counts."""
        return hosts.forgotten(self._store)

    def remember(self, host: str) -> None:
        """Let a forgotten host count again: it is alive."""
        self._store.write(partial(hosts.mark_forgotten, host=host, is_forgotten=False))

    def home(self) -> dict[str, Home]:
        """Return the registered addresses of this host whose sessions are shared, for its card."""
        return hosts.home(self._store, self._doorbells, self._terms)

    def show(self, host: str, addresses: Mapping[str, Home]) -> None:
        """Register the addresses on another host's card, so that broadcasts reach them, and unregister its others.

        An address that is used on this host stays this host's. Malformed addresses are passed over.
        """
        self._check_other(host)
        hosts.show(self._store, self._terms, host, addresses)

    def doors(self) -> Doors:
        """Return doors, which ring when mail is sent to one of the addresses that `Doors.set` names."""
        from raven.wake.doors import Doors

        return Doors(self._handle)

    def receipt_listener(self) -> news.ReceiptListener:
        """Return a listener that rings when a delivery has changed of which another host must hear: call `tell` then.

        Some changes by hand do not ring it: also call `tell` once a second; and 4 times a second if it `has_fallback`.
        """
        self._receipts = news.ReceiptListener(self._handle)
        return self._receipts

    def bells_version(self) -> int:
        """Return a number that changes when a loop comes to any address or leaves it: `home` has changed then."""
        return self._doorbells.bells_version()

    def maintain(self) -> None:
        """End leases, delays and lifetimes that are over, and clean up: call this once a second."""
        self._maintenance.run_due(self._store)

    def close(self) -> None:
        """Close the connection; later calls raise ClosedError. Idempotent."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_other(self, host: str) -> None:
        if hosts.check_host(host) == self.host:
            raise InputError(f"host {abbreviate(host)} is this host: name another one")

    def _begin(self, tx: Transaction) -> None:
        """Write the noted confirmations in the caller's transaction."""
        begun = self._confirmations.write(tx)
        if begun:
            tx.after_commit(lambda _: self.began_anew.update(begun))

    def _tell_some(self, tx: Transaction) -> tuple[set[str], bool]:
        self._begin(tx)
        return news.tell(tx, self._terms)

    def _give_back(self, addresses: Collection[str], returns: int) -> tuple[int, set[str]]:
        total = 0
        told: set[str] = set()
        for address in addresses:
            while True:
                count, some = self._store.write(partial(self._give_some_back, address=address, returns=returns))
                total, told = total + count, told | some
                if count < news.BATCH:
                    break
        self._sync()
        return total, told

    def _sync(self) -> None:
        """Put all commits on the disk, before a frame of them leaves, or a confirmation."""
        if self._is_durable:
            self._store.sync()

    def _give_some_back(self, tx: Transaction, address: str, returns: int) -> tuple[int, set[str]]:
        self._begin(tx)
        count = news.give_back(tx, self._terms, address, returns)
        return count, news.tell_all(tx, self._terms) if count else set()


def _forget_some(tx: Transaction, host: str) -> tuple[list[int], list[str], bool]:
    ids, is_done = handover.forget(tx, host)
    return ids, handover.recipients_of(tx, ids), is_done
