"""Session: the agent at the other end of this server, with its address on the bus and the notices of its mail."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from raven import config
from raven.agents import process as processes
from raven.agents.agents import Agents, Binding, check_address
from raven.client import BusClient
from raven.errors import ClosedError, RavenError
from raven.model.address import parse_address
from raven.wake.listener import Listener
from raven_mcp.options import Options
from raven_mcp.session import flags, identity
from raven_mcp.session.brakes import Brakes
from raven_mcp.session.mail import Mail
from raven_mcp.session.notices import Notices
from raven_mcp.session.presence import TURN, Presence
from raven_mcp.session.push.channel import Channel, Notified, Notify, channel_for
from raven_mcp.session.push.pusher import Pusher
from raven_mcp.wire.loop import Loop
from raven_mcp.wire.requests import Call, Client

_T = TypeVar("_T")
# The server has one thread: a locked bus must not keep the host waiting for long.
_BUSY_TIMEOUT_S = 2.0
# After so long, a session that was not rung is pushed all the same by mail of the address that it shares.
_UNTAKEN_S = 30.0
# A program that only looks whether its servers start has ended them by then.
_SETTLED_S = 2.0
_SETTINGS = ("durability", "max_body_bytes", "max_attempts", "retention", "identity_ttl_s", "broadcast_ttl_s")


class SessionBus(BusClient):
    """A client whose address can change: a session learns its own only when the bus is open."""

    def move(self, address: str) -> None:
        """Go on at another address, over the same connection."""
        self._join(parse_address(address), register=True)

    def new_listener(self) -> Listener:
        """Return a doorbell at the address, without a watcher: the session looks at the file at each tick."""
        return Listener(self._handle, self.address, watch=False)

    def apply_due_timers(self) -> None:
        """End the leases, delays and lifetimes that are over."""
        self._handle.on_idle(self._store)

    def no_wait(self, step: Callable[[], object]) -> None:
        """Call a step that raises BusyError if another process writes now."""
        self._store.no_wait(step)


class Session:
    """Who the agent of this process is, and how it hears of its mail.

    The bus is opened by the first `bind`. If that fails, the next call tries again. `collision` says why the address is
    not the one that was asked for, or another than before. `loop` calls back for timers, and `notify` sends the host a
    notification.
    """

    def __init__(
        self,
        options: Options,
        loop: Loop,
        notify: Notify | None = None,
        *,
        environ: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.host = "agent"
        self.native_id: str | None = None
        self.collision: str | None = None
        self.is_shared = False
        self.listener: Listener | None = None
        self.presence = Presence(clock)
        self._brakes = Brakes(clock)
        self._options = options
        self._loop = loop
        self._notify = notify
        self._environ = environ
        self._clock = clock
        self._process = processes.own()
        self._folder = ""
        self._has_chosen = False  # the role is more than a default
        self._is_unused = False  # the address is a new default one, and no call has used it
        self._random_id = os.urandom(8).hex()  # the name of a session that its program does not name
        self._bus: SessionBus | None = None
        self._agents: Agents | None = None
        self._mail: Mail | None = None
        self._notices: Notices | None = None
        self._pusher: Pusher | None = None
        self._bound_in = -1  # which file in the place of the bus has the session's row
        self._wal_version = (0, 0)
        self._news_since: float | None = None

    @property
    def bus(self) -> BusClient:
        """The bus, as the session's address; raises ClosedError before the first `bind`."""
        return _bound(self._bus)

    @property
    def agents(self) -> Agents:
        """The sessions on the bus; raises ClosedError before the first `bind`."""
        return _bound(self._agents)

    @property
    def notices(self) -> Notices:
        """The notices of the session's mail; raises ClosedError before the first `bind`."""
        return _bound(self._notices)

    @property
    def address(self) -> str | None:
        """The session's address; None before the first `bind`."""
        return None if self._bus is None else self._bus.address

    def greet(self, client: Client) -> None:
        """Learn which program is at the other end, and bind if the environment names the session; raises RavenError."""
        if self._bus is not None:
            return
        self.host = identity.host_of(client.name)
        if self.host in identity.NAMELESS:
            self._loop.add(time.monotonic() + _SETTLED_S, self.bind)
        if identity.from_environment(self.host, self._environ) is not None:
            self.bind()

    def bind(self, call: Call | None = None) -> None:
        """Settle which session this is, by a call if there is one, and open the bus as its address.

        Call it before each call of a tool: it costs nothing if nothing has changed. A hook of an agent within the
        session binds nothing. Raises RavenError if the bus cannot be used, or if a setting names no valid address.
        """
        if call is not None and self._bus is None and identity.is_subagent(call):
            return
        if call is not None and call.name != "hook":
            self.presence.called()
        native_id = self._name_of_session(call)
        if self._bus is None:
            self._open(native_id)
        else:
            self._follow_file()
            if native_id != self.native_id:
                self._go_on_as(native_id)
        role = None if call is None or self._has_chosen else identity.role_of_agent(call)
        if role is not None:
            self._take_role(role)
        self._is_unused = self._is_unused and call is None

    def join(self, role: str, session: str | None = None, *, share: bool = False, about: str | None = None) -> int:
        """Take another address; `session` stays by default. Returns how much new mail waits at the one that was left.

        With `share`, the address may be another living session's, too: each message then goes to one of them. Without
        mail, the address that was left is forgotten. Raises AddressError.
        """
        left = _bound(self._bus).address
        wanted = str(check_address(f"{role}:{session or left.partition(':')[2]}"))
        self._adopt(self._bind_at(wanted, share=share, about=about, is_wish=False), wanted)
        self.is_shared, self._has_chosen = share, True
        address = _bound(self._bus).address
        if left == address or self.agents.of_address(left):
            return 0
        return self._forget_without_mail(left)

    def _forget_without_mail(self, address: str) -> int:
        """Forget an address for which no mail waits, and at which no process does; returns how much mail waits."""
        peers = [peer for peer in self.bus.peers(address.partition(":")[2]) if peer.address == address]
        if not any(peer.pending or peer.waiting for peer in peers):
            self.bus.forget(address)
        return sum(peer.pending for peer in peers)

    def shown(self, ids: Iterable[int]) -> None:
        """Note the messages whose bodies the model was shown: they need no notice, and a push of them was heard."""
        ids = set(ids)
        self._brakes.looked(ids)
        if self._mail is not None:
            self._mail.shown(ids)

    def unannounced(self) -> int:
        """Return how many messages wait that the session has not heard of; 0 if the bus cannot be read now."""
        with suppress(RavenError):
            return 0 if self._mail is None else len(self._mail.new())
        return 0

    def hear(
        self, kind: str, *, is_active: bool = False, is_subagent: bool = False, can_show: bool = True
    ) -> str | None:
        """Return the notice for the event of a hook, None without news; see Notices. Raises DatabaseError.

        An agent within the session gets none: its events only tell that the session is busy. Nor does a host that
        cannot show one to its model at this event.
        """
        if is_subagent or not can_show:
            self.presence.hear(is_busy=is_subagent or kind in TURN)
            return None
        notice = self.notices.for_hook(kind, is_active=is_active)
        if kind == "stop" and notice is None:
            self._on_mail()
        return notice

    def forget_announced(self) -> None:
        """Let the mail that was not shown be announced again: the agent's memory was cut, or is that of another."""
        if self._mail is not None:
            self._mail.forget_announced()

    def on_ring(self) -> None:
        """Look for new mail after a ring of the doorbell; raises DatabaseError.

        At a shared address a ring is for one session: a busy one passes it on.
        """
        if self._bus is None:
            return
        if self.is_shared and self.listener is not None and not self.presence.may_be_woken():
            self.listener.pass_on(forward=True)
        self._on_mail()

    def tick(self) -> None:
        """Do the work of each second: see to the file, the doorbell, due timers, presence and pushes.

        Raises DatabaseError if the bus cannot be used now.
        """
        if self._bus is None or self.listener is None:
            return
        self._follow_file()
        is_new = self.listener.tick()
        version = self._bus._store.wal_version()
        if is_new or version != self._wal_version or _bound(self._mail).is_flagged:
            self._wal_version = version
            self._on_mail(is_late=True)
        for step in (self._bus.apply_due_timers, self._tell_presence):
            with suppress(RavenError):  # another process writes now: the next tick does it
                self._bus.no_wait(step)

    def close(self) -> None:
        """Leave the address for the day on which the session goes on, and close the bus.

        An address without calls and without mail is forgotten: a program has only looked whether its server starts.
        """
        if self._bus is not None:
            with suppress(RavenError):
                self.agents.end(self.host, self._id)
                if self._is_unused and self.listener is not None:
                    self.listener.close()
                    self._forget_without_mail(self._bus.address)
        self._drop()

    def _drop(self) -> None:
        """Close the bus, with all that needs it."""
        if self._pusher is not None:
            self._pusher.close()
        if self._mail is not None:
            self._mail.close()
        if self.listener is not None:
            self.listener.close()
        if self._bus is not None:
            self._bus.close()
        self._bus = self._agents = self._mail = self._notices = self._pusher = self.listener = None

    @property
    def _id(self) -> str:
        return _bound(self.native_id)

    def _name_of_session(self, call: Call | None) -> str:
        """Return the program's name for the session, or a random one if it gives none.

        A server of Codex stays with the thread of its first call, unless a hook tells of another.
        """
        named = None if call is None else identity.from_call(self.host, call)
        is_settled = self._bus is not None and self.native_id is not None
        if named is not None and not (is_settled and self.host == identity.CODEX and call and call.name != "hook"):
            return named
        return self.native_id or identity.from_environment(self.host, self._environ) or self._random_id

    @property
    def _is_named(self) -> bool:
        """Whether the session's name is the program's own."""
        return self.native_id != self._random_id

    def _open(self, native_id: str) -> None:
        self._folder = identity.working_folder(self.host, self._environ)
        settings = config.load(self._options.db, self._folder)
        wish = identity.wanted(
            self.host,
            native_id,
            self._folder,
            given=self._options.address,
            setting=settings.session,
            environ=self._environ,
        )
        options: dict[str, Any] = {name: getattr(settings, name) for name in _SETTINGS}
        options["busy_timeout_s"] = min(settings.busy_timeout_s, _BUSY_TIMEOUT_S)
        self._bus = SessionBus.at(wish, settings.db, register=False, **options)
        self._agents = Agents(self._bus._store)
        self.native_id = native_id
        try:
            binding = self._bind_at(wish, is_wish=True)
            self._adopt(binding, wish)
        except BaseException:
            self._drop()
            raise
        is_default = wish.partition(":")[0] == identity.default_role(self.host, native_id)
        self._has_chosen = binding.resumed or not is_default
        self._is_unused = not self._has_chosen and binding.taken_over is None
        flags.sweep(self._bus.db_path)

    def _take_role(self, role: str) -> None:
        """Take the role of the agent that the session is, in the place of its default; its next result tells it."""
        self.join(role)
        address = _bound(self._bus).address
        self.collision = self.collision or f"you are {address}, by the name of your agent"

    def _bind_at(self, wanted: str, *, is_wish: bool, share: bool = False, about: str | None = None) -> Binding:
        return self.agents.bind(
            wanted, self.host, self._id, self._process, self._folder, about=about, share=share, is_wish=is_wish
        )

    def _follow_file(self) -> None:
        """Bind again in a file that has replaced the bus; raises DatabaseError if the file is gone."""
        store = _bound(self._bus)._store
        store.verify()
        if store.replaced != self._bound_in:
            address = _bound(self._bus).address
            binding = self._bind_at(address, is_wish=False, share=self.is_shared)
            _bound(self._mail).start_over()
            self._adopt(binding, address)

    def _go_on_as(self, native_id: str) -> None:
        """Go on as another session in the same process, at the same address unless that session has its own."""
        binding = self.agents.rebind(self.host, self._id, native_id)
        self.native_id = native_id
        _bound(self._mail).rename(native_id)
        self._make_pusher()
        self._adopt(binding, binding.address)

    def _adopt(self, binding: Binding, wanted: str) -> None:
        """Go on at the address of a binding."""
        bus = _bound(self._bus)
        self._bound_in = bus._store.replaced
        self.collision = _collision(binding, wanted)
        if bus.address != binding.address or self.listener is None:
            bus.move(binding.address)
            if self.listener is not None:
                self.listener.close()
            self.listener = bus.new_listener()
        if self._mail is None:
            self._mail = Mail(bus, self.agents, self._id, None if self._is_named else os.getppid())
            self._notices = Notices(self._mail, self.presence, self._brakes)
            self._make_pusher()
        if binding.resumed:
            self._mail.remember_delivered()
        self._on_mail()

    def _make_pusher(self) -> None:
        if self._pusher is not None:
            self._pusher.close()
        channel: Channel | None = None
        if self._options.channel and self._notify is not None:
            channel = Notified(self._notify)
        elif self._options.pushes:
            named = self._id if self._is_named else None
            channel = channel_for(self.host, named, self._environ, self._loop)
        self._pusher = None
        if channel is not None:
            self._pusher = Pusher(
                channel, _bound(self._mail), self.notices, self.presence, self._brakes, self._loop, self._clock
            )

    def _on_mail(self, *, is_late: bool = False) -> None:
        """Look for new mail, and push it if there is any.

        At a shared address only the session that was rung is pushed, so that not all are woken by one message. The
        others are pushed by mail that no session has taken for a while (`is_late`).
        """
        is_any = bool(_bound(self._mail).new())
        self._news_since = (self._news_since or self._clock()) if is_any else None
        is_own = not self.is_shared or not is_late or self._clock() - (self._news_since or 0.0) >= _UNTAKEN_S
        if is_any and is_own and self._pusher is not None:
            self._pusher.mail_came()

    def _tell_presence(self) -> None:
        self.agents.note(self.host, self._id, state=self.presence.state, has_hooks=self.presence.has_hooks)


def _bound(value: _T | None) -> _T:
    if value is None:
        raise ClosedError("the session has no address yet: call a tool first")
    return value


def _collision(binding: Binding, wanted: str) -> str | None:
    """Return why a session did not get the address that it wanted."""
    other = binding.taken_by
    if other is None or binding.address == wanted:
        return None
    owner = identity.default_role(other.host, other.native_id)
    return f"{wanted} is taken by the session of {owner}; you are {binding.address}"
