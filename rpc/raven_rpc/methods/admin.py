"""Admin: the methods that look after the bus; what takes long has a thread and a connection of its own."""

from __future__ import annotations

from typing import Any

from raven.errors import DatabaseError, ForbiddenError, InputError, LimitError
from raven.model.limits import check_max
from raven.model.message import Message
from raven_rpc.methods import params
from raven_rpc.methods.context import Context
from raven_rpc.methods.method import Work
from raven_rpc.methods.receive import MAX_PAGE_BYTES, as_messages

# So many ids are revived among the writes of others.
_FEW = 1000
# The dead of so many addresses are listed at once, each with a message of 4 MiB at least.
_MANY = 16


def dead(context: Context, given: params.Dead) -> Work:
    """Return the deliveries that have died, each as its recipient has it, with the reason."""
    check_max(given.max)
    bus, scope = context.reader, context.scope(given.role)

    def find() -> list[Message]:
        if scope is None:
            return bus.dead(max=given.max, max_bytes=MAX_PAGE_BYTES)
        most = MAX_PAGE_BYTES // max(1, len(scope))
        if len(scope) > _MANY:
            raise LimitError(
                f"{len(scope):,} addresses at once are over the limit of {_MANY}: ask for fewer, or for all"
            )
        found = [message for role in scope for message in bus.dead(role, max=given.max, max_bytes=most)]
        return sorted(found, key=lambda message: message.id)[: given.max]

    return Work("read", find, as_messages, weight=given.max)


def requeue(context: Context, given: params.Requeue) -> Work:
    """Revive the dead of some messages, or all there are: they are ready at once, with all attempts before them."""
    role = _own(context, given.role)
    if bool(given.ids) == given.all:
        raise InputError("requeue takes the ids of messages, or all: give one of them")
    if given.all:
        return Work("admin", lambda: context.admin.requeue(role=role, all=True), _as_requeued)
    if len(given.ids) > _FEW:
        return Work("admin", lambda: context.admin.requeue(*given.ids, role=role), _as_requeued)
    return Work("write", lambda: context.writer.requeue(*given.ids, role=role), _as_requeued, weight=len(given.ids))


def purge_dead(context: Context, given: params.PurgeDead) -> Work:
    """Drop the deliveries that have died, all or those to one address."""
    role = _own(context, given.role)
    return Work("admin", lambda: context.admin.purge_dead(role), lambda count: {"purged": count})


def prune(context: Context, given: params.Prune) -> Work:
    """Drop finished messages older than a span of time, and give their space back; what is unfinished stays."""
    if context.bound:
        raise ForbiddenError(f"this socket acts as {', '.join(context.bound)} only: it cannot prune what is others'")

    def run() -> dict[str, Any]:
        done = context.admin.prune(
            given.older_than_s, dry_run=given.dry_run, progress=lambda _: context.host.check_running()
        )
        return {"messages": done.messages, "bytes": done.bytes, "dry_run": given.dry_run}

    return Work("admin", run)


def stats(context: Context, given: params.Stats) -> Work:
    """Return what the server has done and what waits, and as `bus` the figures of the bus, null where it is gone."""

    def measure() -> dict[str, Any] | None:
        try:
            return context.admin.stats(full=given.full).as_dict()
        except DatabaseError:  # just then the server's own figures are wanted
            return None

    return Work("admin", measure, lambda measured: {**context.facts.stats(), "bus": measured})


def _own(context: Context, role: str | None) -> str | None:
    """Return whose dead are meant, None for everybody's; on a bound socket one of its addresses."""
    return context.role("role", role) if role is not None or context.bound else None


def _as_requeued(count: int) -> dict[str, int]:
    return {"requeued": count}
