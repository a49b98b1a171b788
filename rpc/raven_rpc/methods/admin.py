"""Admin: the methods for maintenance; long ones run in a thread of their own, over a connection of their own."""

from __future__ import annotations

from typing import Any

from raven.errors import DatabaseError, ForbiddenError, InputError, LimitError
from raven.host.bus import HostedBus
from raven.model.limits import MAX_PAGE_BYTES, check_max
from raven.model.message import Message
from raven_rpc.methods import params
from raven_rpc.methods.context import Context
from raven_rpc.methods.method import Work
from raven_rpc.methods.receive import as_messages

# Up to this many ids are requeued among other writes; more of them in the maintenance thread.
_MAX_INLINE_IDS = 1000
# At most this many addresses per `dead`: each returns one message at least, of up to 4 MiB.
MAX_ADDRESSES = 16


def dead(context: Context, args: params.Dead) -> Work:
    """Return the dead deliveries, each as its recipient sees it, with the reason."""
    check_max(args.max)
    bus, allowed = context.reader, context.checked(args.role) or list(context.bound) or None

    def find() -> list[Message]:
        if allowed is None:
            return bus.dead(max=args.max, max_bytes=MAX_PAGE_BYTES)
        most = MAX_PAGE_BYTES // max(1, len(allowed))
        if len(allowed) > MAX_ADDRESSES:
            raise LimitError(
                f"{len(allowed):,} addresses at once are over the limit of {MAX_ADDRESSES}: ask for fewer, or for all"
            )
        letters = [message for role in allowed for message in bus.dead(role, max=args.max, max_bytes=most)]
        return sorted(letters, key=lambda message: message.id)[: args.max]

    return Work("read", find, as_messages, weight=args.max, is_page=True)


def requeue(context: Context, args: params.Requeue) -> Work:
    """Requeue the dead deliveries of some messages, or all: they are ready at once, with no attempt counted."""
    role = _own(context, args.role)
    if bool(args.ids) == args.all:
        raise InputError("requeue takes the ids of messages, or all: give one of them")
    if args.all:
        return Work("admin", lambda: context.admin.requeue(role=role, all=True), _as_requeued)

    def requeue_in(bus: HostedBus) -> int:
        if context.bound:
            view = context.view(bus)
            for message_id in args.ids:
                view.require(message_id)
        return bus.requeue(*args.ids, role=role)

    if len(args.ids) > _MAX_INLINE_IDS:
        return Work("admin", lambda: requeue_in(context.admin), _as_requeued)
    return Work("write", lambda: requeue_in(context.writer), _as_requeued, weight=len(args.ids))


def purge_dead(context: Context, args: params.PurgeDead) -> Work:
    """Delete the dead deliveries, all or those to one address."""
    role = _own(context, args.role)
    return Work("admin", lambda: context.admin.purge_dead(role), lambda count: {"purged": count})


def prune(context: Context, args: params.Prune) -> Work:
    """Delete finished messages older than `older_than_s`, and free their space; unfinished messages stay."""
    if context.bound:
        raise ForbiddenError(f"this server acts as {', '.join(context.bound)} only: it cannot prune the whole bus")

    def run() -> dict[str, Any]:
        pruned = context.admin.prune(
            args.older_than_s,
            dry_run=args.dry_run,
            progress=lambda _: context.host.check_running(),
            grace_s=args.grace_s,
            unfinished=args.unfinished,
        )
        return {
            "messages": pruned.messages,
            "bytes": pruned.bytes,
            "kept": pruned.kept,
            "expired": pruned.expired,
            "dry_run": args.dry_run,
        }

    return Work("admin", run)


def forget(context: Context, args: params.Forget) -> Work:
    """Unregister addresses, and let the mail that waits for them expire; a pattern means all that match it."""
    roles = [args.role] if isinstance(args.role, str) else args.role
    if context.bound:
        roles = [context.check(role) for role in roles]

    def run() -> dict[str, int]:
        return context.admin.forget(*roles)._asdict()

    return Work("admin", run)


def stats(context: Context, args: params.Stats) -> Work:
    """Return the server's counters and waiting requests, and as `bus` the statistics of the bus, null if it is gone."""

    def collect() -> dict[str, Any] | None:
        try:
            return context.view(context.admin).stats(full=args.full).as_dict()
        except DatabaseError:  # the server's own figures are useful just then
            return None

    return Work("admin", collect, lambda figures: {**context.facts.stats(), "bus": figures}, on_loop=True)


def _own(context: Context, role: str | None) -> str | None:
    """Return the address whose dead are meant, None for all; on a bound socket one of its addresses."""
    return context.role("role", role) if role is not None or context.bound else None


def _as_requeued(count: int) -> dict[str, int]:
    return {"requeued": count}
