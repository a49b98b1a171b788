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


def dead(context: Context, args: params.Dead) -> Work:
    """Return the deliveries that have died, each as its recipient has it, with the reason."""
    check_max(args.max)
    bus, allowed = context.reader, context.allowed(args.role)

    def find() -> list[Message]:
        if allowed is None:
            return bus.dead(max=args.max, max_bytes=MAX_PAGE_BYTES)
        most = MAX_PAGE_BYTES // max(1, len(allowed))
        if len(allowed) > _MANY:
            raise LimitError(
                f"{len(allowed):,} addresses at once are over the limit of {_MANY}: ask for fewer, or for all"
            )
        letters = [message for role in allowed for message in bus.dead(role, max=args.max, max_bytes=most)]
        return sorted(letters, key=lambda message: message.id)[: args.max]

    return Work("read", find, as_messages, weight=args.max)


def requeue(context: Context, args: params.Requeue) -> Work:
    """Revive the dead of some messages, or all there are: they are ready at once, with all attempts before them."""
    role = _own(context, args.role)
    if bool(args.ids) == args.all:
        raise InputError("requeue takes the ids of messages, or all: give one of them")
    if args.all:
        return Work("admin", lambda: context.admin.requeue(role=role, all=True), _as_requeued)
    if len(args.ids) > _FEW:
        return Work("admin", lambda: context.admin.requeue(*args.ids, role=role), _as_requeued)
    return Work("write", lambda: context.writer.requeue(*args.ids, role=role), _as_requeued, weight=len(args.ids))


def purge_dead(context: Context, args: params.PurgeDead) -> Work:
    """Drop the deliveries that have died, all or those to one address."""
    role = _own(context, args.role)
    return Work("admin", lambda: context.admin.purge_dead(role), lambda count: {"purged": count})


def prune(context: Context, args: params.Prune) -> Work:
    """Drop finished messages older than a span of time, and give their space back; what is unfinished stays."""
    if context.bound:
        raise ForbiddenError(f"this socket acts as {', '.join(context.bound)} only: it cannot prune what is others'")

    def run() -> dict[str, Any]:
        done = context.admin.prune(
            args.older_than_s, dry_run=args.dry_run, progress=lambda _: context.host.check_running()
        )
        return {"messages": done.messages, "bytes": done.bytes, "dry_run": args.dry_run}

    return Work("admin", run)


def stats(context: Context, args: params.Stats) -> Work:
    """Return what the server has done and what waits, and as `bus` the figures of the bus, null where it is gone."""

    def collect() -> dict[str, Any] | None:
        try:
            return context.admin.stats(full=args.full).as_dict()
        except DatabaseError:  # just then the server's own figures are wanted
            return None

    return Work("admin", collect, lambda figures: {**context.facts.stats(), "bus": figures})


def _own(context: Context, role: str | None) -> str | None:
    """Return whose dead are meant, None for everybody's; on a bound socket one of its addresses."""
    return context.role("role", role) if role is not None or context.bound else None


def _as_requeued(count: int) -> dict[str, int]:
    return {"requeued": count}
