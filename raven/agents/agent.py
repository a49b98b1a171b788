"""Agent: one session of a coding agent, as the file has it, and whether it lives."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from raven.agents import process as processes
from raven.agents.process import ProcessId
from raven.errors import AddressError, abbreviate
from raven.model import clock
from raven.model.address import WILDCARD, Address, parse_address

if TYPE_CHECKING:
    from raven.store.database import Store
    from raven.store.transaction import Transaction

AWAY = "away"
MAX_NAME = 32
_FIRST = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_NEXT = _FIRST | frozenset("_.-")
# A living session gives a sign of life so often.
REFRESH_S = 60.0
# One whose process is in another container lives if it was seen within this time.
_SILENCE_US = clock.to_micros(3 * REFRESH_S)


class Agent(NamedTuple):
    """A session of a coding agent, and its address.

    `host` is the program, and `native_id` its name of the session. `pid` and `started` are the process in which the
    session runs, None after its end, and `space` is where that number means a process. `state` is "busy", "idle" or
    "listening", None if it is not known. `has_hooks`: a hook was heard. Times are microseconds since 1970.
    """

    host: str
    native_id: str
    address: str
    pid: int | None
    started: int | None
    cwd: str | None
    about: str | None
    state: str | None
    has_hooks: bool | None
    bound_at: int
    seen_at: int
    space: str = ""

    @classmethod
    def from_row(cls, row: tuple[Any, ...]) -> Agent:
        """Build an agent from a row of the columns @agent."""
        agent = cls(*row)
        return agent._replace(has_hooks=None if agent.has_hooks is None else bool(agent.has_hooks))

    @property
    def process(self) -> ProcessId | None:
        """The process in which the session runs; None after its end."""
        return None if self.pid is None or self.started is None else ProcessId(self.pid, self.started)

    def is_alive(self) -> bool:
        """Whether the process of the session runs.

        The number of a process in another container means nothing here: such a session lives if it was seen lately.
        """
        if self.process is None:
            return False
        here = processes.space()
        if self.space == here:
            return self.process.is_alive()
        is_this_boot = self.space.partition(" ")[0] == here.partition(" ")[0]
        return is_this_boot and clock.now() - self.seen_at < _SILENCE_US

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form; times are ISO 8601 in UTC."""
        times = {name: clock.isoformat(clock.from_micros(getattr(self, name))) for name in ("bound_at", "seen_at")}
        return self._asdict() | times


class Presence(NamedTuple):
    """The agent at an address, as others see it; all None if no agent has the address.

    `agent` is its program; `state` is "away" if its process has ended, and else as in Agent.
    """

    agent: str | None
    state: str | None
    cwd: str | None
    about: str | None


NO_AGENT = Presence(None, None, None, None)


def check_address(text: str) -> Address:
    """Return the address that an agent may have; raises AddressError that names the bad part.

    Both parts are plain words, so that a notice to another agent can show them.
    """
    address = parse_address(text)
    for name, part in zip(("role", "session"), address, strict=True):
        if len(part) > MAX_NAME or part[0] not in _FIRST or not _NEXT.issuperset(part):
            raise AddressError(
                f"address {abbreviate(text)}: its {name} is no name for an agent; use 1 to {MAX_NAME} of the "
                "characters a-z, 0-9, '_', '.' and '-', and begin with a letter or a digit"
            )
    return address


def list_agents(store: Store) -> list[Agent]:
    """Return all sessions, living or not."""
    return list(map(Agent.from_row, store.rows("list_agents")))


def agents_at(tx: Transaction, address: str) -> list[Agent]:
    """Return the sessions that have an address, living or not."""
    return list(map(Agent.from_row, tx.rows("agents_at", {"address": address})))


def presence(store: Store) -> dict[str, Presence]:
    """Return the presence of the agent at each address: of a living session, or of the one that was seen last."""
    found = {}
    for agent, is_alive in sorted(
        ((agent, agent.is_alive()) for agent in list_agents(store)), key=lambda one: (one[1], one[0].seen_at)
    ):
        found[agent.address] = Presence(agent.host, agent.state if is_alive else AWAY, agent.cwd, agent.about)
    return found


def forget_ended(store: Store, target: Address) -> None:
    """Delete the sessions at an address, or at all that match a pattern, whose processes have ended."""
    matching = {agent.address for agent in list_agents(store) if _matches(target, agent.address)}
    if matching:
        store.write(lambda tx: delete_ended(tx, [agent for address in matching for agent in agents_at(tx, address)]))


def delete_ended(tx: Transaction, agents: Iterable[Agent]) -> None:
    """Delete the sessions among these whose processes have ended."""
    for agent in agents:
        if not agent.is_alive():
            tx.change("delete_agent", {"host": agent.host, "native_id": agent.native_id})


def _matches(target: Address, address: str) -> bool:
    role, _, session = address.partition(":")
    return target.role in (WILDCARD, role) and target.session in (WILDCARD, session)
