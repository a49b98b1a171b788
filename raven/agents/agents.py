"""Agents: the address of each session of a coding agent, its presence, and the addresses that are muted."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

from raven.agents import process as processes
from raven.agents.agent import MAX_NAME, REFRESH_S, Agent, agents_at, check_address, delete_ended, list_agents
from raven.agents.process import ProcessId
from raven.errors import InputError, abbreviate
from raven.model import clock
from raven.model.address import Address, parse_address

if TYPE_CHECKING:
    from raven.store.database import Store
    from raven.store.transaction import Transaction

__all__ = ["MAX_NAME", "Agent", "Agents", "Binding", "check_address"]

_MAX_ID = 512
# After a session has ended, broadcasts reach its address for a day, and the session can be resumed for 30 days.
_LISTED_US, _KEEP_US = clock.to_micros(86400), clock.to_micros(30 * 86400)


class Binding(NamedTuple):
    """The address that a session got.

    `taken_by` is the living session that has the address that was wanted, None if that was free. `resumed`: the
    session had this address before. `taken_over` is the session that had it last and has ended; its mail is there.
    """

    address: str
    taken_by: Agent | None
    resumed: bool
    taken_over: Agent | None


class _Note(NamedTuple):
    """The presence that was told last, and when, on the monotonic clock."""

    at: float
    state: str | None
    has_hooks: bool | None


_UNKNOWN = _Note(float("-inf"), None, None)


class Agents:
    """The sessions of coding agents on a bus. Each method is one transaction.

    >>> agents = Agents(bus._store)
    >>> agents.bind("architect:pay", "claude-code", session_id, process.own(), os.getcwd()).address
    'architect:pay'
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._processes: dict[tuple[str, str], ProcessId] = {}
        self._noted: dict[tuple[str, str], _Note] = {}

    def bind(
        self,
        wanted: str,
        host: str,
        native_id: str,
        process: ProcessId,
        cwd: str,
        *,
        about: str | None = None,
        share: bool = False,
        is_wish: bool = False,
    ) -> Binding:
        """Give a session an address, and register it: the one that it wants, or the next free one.

        No two living sessions have one address: while another has `architect:pay`, this one gets `architect-2:pay`,
        and so on. With `share` it gets the address all the same. The address of a session that has ended is free, with
        the mail that waits there. With `is_wish`, a session that had an address gets that again, not the one wanted.
        Raises AddressError, or InputError for a session that has no id.
        """
        target = check_address(wanted)
        for name, value in (("host", host), ("native id", native_id)):
            if not 0 < len(value) <= _MAX_ID:
                raise InputError(f"{name} {abbreviate(value)} has {len(value)} characters: give 1 to {_MAX_ID}")
        row = {
            "host": _encodable(host),
            "native_id": _encodable(native_id),
            **process._asdict(),
            "space": processes.space(),
            "cwd": _encodable(cwd),
            "about": None if about is None else _encodable(about),
        }
        binding = self._store.write(partial(_bind, row=row, wanted=target, share=share, is_wish=is_wish))
        self._remember(host, native_id, process)
        return binding

    def rebind(self, host: str, old_native_id: str, native_id: str) -> Binding:
        """Let another session go on in the same process, as after `/clear`: the address stays.

        A session that had an address of its own gets that again, unless another living session has it. Raises
        InputError if the old session is not bound.
        """
        own = self._processes.get((host, old_native_id))
        binding, process = self._store.write(
            partial(_rebind, host=host, old_id=old_native_id, native_id=native_id, own_process=own)
        )
        self._remember(host, native_id, process)
        return binding

    def note(self, host: str, native_id: str, *, state: str | None = None, has_hooks: bool | None = None) -> None:
        """Tell the presence of a session; None leaves a value as it is. Call it at every tick.

        It writes only a change, and every 60 s a sign of life. A session that another process goes on with, or that is
        not bound, stays as it is.
        """
        key = host, native_id
        last = self._noted.get(key, _UNKNOWN)
        told = _Note(
            time.monotonic(),
            last.state if state is None else state,
            last.has_hooks if has_hooks is None else has_hooks,
        )
        if told[1:] == last[1:] and told.at - last.at < REFRESH_S:
            return
        params = {**self._own(key), "state": state, "has_hooks": has_hooks, "now": clock.now()}
        self._store.write(lambda tx: tx.change("note_agent", params))
        self._noted[key] = told

    def end(self, host: str, native_id: str) -> None:
        """Tell that the process of a session ends. Its address stays for the day on which it is resumed.

        A session that another process goes on with stays as it is.
        """
        params = {**self._own((host, native_id)), "now": clock.now()}
        self._store.write(lambda tx: tx.change("end_agent", params))
        self._noted.pop((host, native_id), None)

    def of_address(self, address: str) -> list[Agent]:
        """Return the sessions that have an address, living or not; the one that was seen last comes first."""
        rows = self._store.rows("agents_at", {"address": address})
        return sorted(map(Agent.from_row, rows), key=_seen, reverse=True)

    def all(self) -> list[Agent]:
        """Return all sessions, living or not; the one that was seen last comes first."""
        return sorted(list_agents(self._store), key=_seen, reverse=True)

    def mute(self, *addresses: str) -> None:
        """Let no agent be told of mail from some addresses. The mail arrives all the same."""
        rows = [{"address": str(parse_address(address)), "now": clock.now()} for address in addresses]
        self._store.write(lambda tx: [tx.change("mute", row) for row in rows])

    def unmute(self, *addresses: str) -> None:
        """Let agents be told again of mail from some addresses."""
        rows = [{"address": str(parse_address(address))} for address in addresses]
        self._store.write(lambda tx: [tx.change("unmute", row) for row in rows])

    def muted(self) -> set[str]:
        """Return the addresses that are muted."""
        return {row[0] for row in self._store.rows("list_mutes")}

    def _remember(self, host: str, native_id: str, process: ProcessId) -> None:
        self._processes[host, native_id] = process
        self._noted.pop((host, native_id), None)

    def _own(self, key: tuple[str, str]) -> dict[str, Any]:
        """Return the parameters for the row of a session, if it is that of the process that bound it here."""
        bound = self._processes.get(key)
        pid, started = bound or (None, None)
        return {"host": _encodable(key[0]), "native_id": _encodable(key[1]), "pid": pid, "started": started}


def _bind(tx: Transaction, row: Mapping[str, Any], wanted: Address, share: bool, is_wish: bool) -> Binding:
    now = clock.now()
    _forget_old(tx, now)
    own = _find(tx, row["host"], row["native_id"])
    target = parse_address(own.address) if own and is_wish else wanted
    taken_by = None
    for address in _candidates(target):
        there = agents_at(tx, str(address))
        others = sorted((agent for agent in there if agent[:2] != (row["host"], row["native_id"])), key=_seen)
        holder = next((agent for agent in others if agent.is_alive()), None)
        if share:
            break
        taken_by = taken_by or holder
        # A numbered address that another program than an agent's uses is not free.
        is_ours = there or address == target or not tx.value("is_address_known", {"address": str(address)})
        if is_ours and holder is None:
            break
    resumed = own is not None and own.address == str(address)
    ended = others[-1] if others and holder is None and not resumed else None
    tx.change("bind_agent", {**row, "address": str(address), "now": now})
    tx.change("upsert_identity", {"address": str(address), **address._asdict(), "now": now})
    return Binding(str(address), taken_by, resumed, ended)


def _rebind(
    tx: Transaction, host: str, old_id: str, native_id: str, own_process: ProcessId | None
) -> tuple[Binding, ProcessId]:
    old, own = _find(tx, host, old_id), _find(tx, host, native_id)
    # A second process of the session may have ended it: then another session may have its address.
    process = own_process or (old and old.process)
    if old is None or process is None:
        raise InputError(f"session {abbreviate(old_id)} of {abbreviate(host)} has no address: bind it first")
    space = processes.space() if own_process else old.space
    tx.change("end_agent", {"host": host, "native_id": old_id, **process._asdict(), "now": clock.now()})
    row = {
        "host": host,
        "native_id": native_id,
        **process._asdict(),
        "space": space,
        "cwd": old.cwd,
        "about": old.about,
    }
    is_own_free = own is not None and not any(
        agent[:2] != (host, native_id) and agent.is_alive() for agent in agents_at(tx, own.address)
    )
    address = own.address if own and is_own_free else old.address
    binding = _bind(tx, row, parse_address(address), share=old.process is not None, is_wish=False)
    tx.change("note_agent", {**row, "state": old.state, "has_hooks": old.has_hooks, "now": clock.now()})
    # The old session ended just now, and its process goes on with this one.
    return binding._replace(taken_over=None), process


def _candidates(address: Address) -> Iterator[Address]:
    """Yield an address, and then the same with a number from 2 on after its role."""
    yield address
    for number in count(2):
        mark = f"-{number}"
        yield Address(address.role[: MAX_NAME - len(mark)] + mark, address.session)


def _find(tx: Transaction, host: str, native_id: str) -> Agent | None:
    rows = tx.rows("get_agent", {"host": host, "native_id": native_id})
    return Agent.from_row(rows[0]) if rows else None


def _forget_old(tx: Transaction, now: int) -> None:
    """Unregister the addresses of sessions that ended a day ago, unless they are in use; delete the oldest sessions."""
    before = now - _LISTED_US
    ended = {
        agent for agent in map(Agent.from_row, tx.rows("agents_unseen", {"before": before})) if not agent.is_alive()
    }
    for address in {agent.address for agent in ended}:
        if ended.issuperset(agents_at(tx, address)):
            tx.change("delete_unseen_identity", {"address": address, "before": before})
    delete_ended(tx, (agent for agent in ended if agent.seen_at < now - _KEEP_US))


def _seen(agent: Agent) -> int:
    return agent.seen_at


def _encodable(text: str) -> str:
    """Return a text as UTF-8 can encode it: names of files may have other bytes."""
    return text.encode(errors="replace").decode()
