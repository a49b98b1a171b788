"""Observer: what is seen of the bus through a helper's socket, by a client with or without an address."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import raven
from raven import DatabaseError, InputError, Message, Peer, State, check_max
from raven_rpc.client.calls import messages_of
from raven_rpc.client.connection import shaped
from raven_rpc.client.long_call import LongCall
from raven_rpc.client.retry import Link

if TYPE_CHECKING:
    from raven import Pruned, Receipt, Stats


class Observer(Link):
    """The half of a Client that a `raven.BusObserver` has, too."""

    def recipients(self, id: int) -> list[str]:
        """Return the addresses that a message was delivered to; raises MessageNotFoundError."""
        return shaped(lambda result: list(result["recipients"]), self._call("recipients", id=id))

    def history(
        self,
        correlation_id: str | int | None = None,
        *,
        task_id: str | int | None = None,
        role: str | Sequence[str] | None = None,
        max: int = 1000,
    ) -> list[Message]:
        """Return the messages of one conversation or task in order, each as a whole."""
        found = self._call("history", correlation_id=correlation_id, task_id=task_id, role=_roles(role), max=max)
        return shaped(messages_of, found)

    def thread(self, id: int, *, role: str | Sequence[str] | None = None, max: int = 1000) -> list[Message]:
        """Return the conversation that a message is part of by `reply_to`: all it answers, and all answers, in order.

        Each as a whole; `role` narrows it as in `history`. Raises MessageNotFoundError.
        """
        raven.check_id(id)
        check_max(max)
        return shaped(messages_of, self._call("thread", id=id, role=_roles(role), max=max))

    def receipts(self, id: int) -> list[Receipt]:
        """Return how far each delivery of a message has come, in the order of its recipients; MessageNotFoundError."""
        raven.check_id(id)
        return shaped(_receipts_of, self._call("receipts", id=id))

    def wait_receipt(self, id: int, state: State = "acked", timeout_s: float | None = None) -> list[Receipt]:
        """Wait until every delivery of a message has come as far as `state`, and return the receipts.

        It waits over a connection of its own, and goes on when the helper is restarted. Raises WaitTimeoutError after
        `timeout_s` seconds, UndeliveredError as soon as one delivery has expired or died instead, MessageNotFoundError.
        """
        return shaped(_receipts_of, self._receipt_call(id, state, timeout_s).ask())

    async def wait_receipt_async(
        self, id: int, state: State = "acked", timeout_s: float | None = None
    ) -> list[Receipt]:
        """Do as `wait_receipt` does, without blocking the event loop."""
        return shaped(_receipts_of, await self._receipt_call(id, state, timeout_s).ask_async())

    def dead(self, role: str | None = None, *, max: int = 100) -> list[Message]:
        """Return the deliveries that have died, of one recipient where `role` is given, with `reason` and times."""
        check_max(max)
        return shaped(messages_of, self._call("dead", role=role, max=max))

    def requeue(self, *ids: int, role: str | None = None, all: bool = False) -> int:
        """Revive the dead of some messages, or all there are, or those to one address; returns how many deliveries.

        As `BusObserver.requeue` does; LostError where it is not known whether it was done.
        """
        if all and ids:
            raise InputError("requeue takes ids, or all=True, not both")
        if not all and not ids:
            raise InputError("requeue needs the id of a message, or all=True")
        for id in ids:
            raven.check_id(id)
        found = self._ask_long("requeue", ids=list(ids), all=all, role=role)
        return shaped(lambda result: int(result["requeued"]), found)

    def purge_dead(self, role: str | None = None) -> int:
        """Drop the deliveries that have died, all or those to one address; returns how many. LostError as `requeue`."""
        return shaped(lambda result: int(result["purged"]), self._ask_long("purge_dead", role=role))

    def peers(self, session: str | None = None) -> list[Peer]:
        """List who is registered or has mail: who is waiting now, who was seen when, how much waits for each."""
        found = self._call("peers", session=session)
        return shaped(lambda result: [Peer.from_dict(shape) for shape in result["peers"]], found)

    def last_id(self) -> int:
        """Return the id of the newest message, 0 on an empty bus."""
        return shaped(lambda result: int(result["id"]), self._call("last_id"))

    def stats(self, *, full: bool = True) -> Stats:
        """Return what is on the bus, as `BusObserver.stats` does; DatabaseError where the helper cannot read it now.

        What the helper itself has done is in `call("stats")`.
        """
        # It waits its turn behind what else takes long there.
        measured = LongCall(self, "stats", {"full": full}, again=True).ask()
        bus = shaped(lambda result: result["bus"], measured)
        if bus is None:
            raise DatabaseError("the helper cannot read the bus now: run `raven doctor` where its file is")
        return shaped(raven.Stats.from_dict, bus)

    def tail(
        self,
        from_id: int = 1,
        *,
        role: str | Sequence[str] | None = None,
        follow: bool = True,
        poll_interval_s: float = 1.0,
        timeout_s: float | None = None,
    ) -> Iterator[Message]:
        """Yield messages as a whole from an id on, consuming none, as `BusObserver.tail` does.

        `poll_interval_s` is there for its sake: here the helper does the looking.
        """
        from raven_rpc.client import stream as streams

        streams.check_poll_interval(poll_interval_s)
        return streams.tail(self, from_id, _roles(role), follow, timeout_s)

    def prune(
        self, older_than_s: float, *, dry_run: bool = False, progress: Callable[[Pruned], None] | None = None
    ) -> Pruned:
        """Drop finished messages older than a span of time and give their space back; what is unfinished stays.

        `progress` is called at the end. With `dry_run` it only counts. LostError where it is not known whether it was
        done; what was not can be done again.
        """
        found = self._ask_long("prune", older_than_s=older_than_s, dry_run=dry_run)
        # Only what was dropped is told, and no other candidates.
        pruned = shaped(lambda result: raven.Pruned(result["messages"], result["bytes"], result["messages"]), found)
        if progress is not None:
            progress(pruned)
        return pruned

    def _receipt_call(self, id: int, state: State, timeout_s: float | None) -> LongCall:
        raven.check_id(id)
        return LongCall(self, "wait_receipt", {"id": id, "state": state}, timeout_s, waits=True, again=True)

    def _ask_long(self, method: str, **params: Any) -> Any:
        """Call a method that takes as long as there is work, once."""
        return LongCall(self, method, params).ask()


def _receipts_of(result: Any) -> list[Receipt]:
    return [raven.Receipt.from_dict(shape) for shape in result["receipts"]]


def _roles(role: str | Sequence[str] | None) -> str | list[str] | None:
    return role if role is None or isinstance(role, str) else list(role)
