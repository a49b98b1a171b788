"""Read: the methods that read messages and change nothing."""

from __future__ import annotations

from functools import partial
from typing import Any

from raven.host.deferred import Deferred
from raven.model.limits import MAX_PAGE_BYTES
from raven.model.message import Message
from raven.model.status import Peer, Receipt
from raven.query.receipts import ReceiptPoller
from raven_rpc.methods import params
from raven_rpc.methods.context import Context
from raven_rpc.methods.method import Work
from raven_rpc.methods.receive import as_messages

# The weight of reading one message, whose body may be long.
_READ_WEIGHT = 100


def read(context: Context, args: params.Read) -> Work:
    """Return one message, as one address sees it, or as a whole; changes nothing."""
    role = context.address_or_none(args.role)
    return Work(
        "read",
        lambda: context.read_as(context.reader, args.id, role),
        Message.as_dict,
        weight=_READ_WEIGHT,
        is_page=True,
    )


def recipients(context: Context, args: params.OneMessage) -> Work:
    """List the addresses that a message was delivered to."""

    def find() -> list[str]:
        context.read_as(context.reader, args.id, None)
        return context.reader.recipients(args.id)

    return Work("read", find, lambda addresses: {"recipients": addresses}, is_page=True)


def receipts(context: Context, args: params.OneMessage) -> Work:
    """Return the state of each delivery of a message, in the order of its recipients."""
    return Work("read", partial(_receipts, context, args.id), _as_receipts, is_page=True)


def wait_receipt(context: Context, args: params.WaitReceipt) -> Work:
    """Wait until every delivery of a message has reached a state; return the receipts. Later requests overtake it."""
    poller = ReceiptPoller(partial(_receipts, context, args.id), args.id, args.state)

    def start(receipts: list[Receipt] | None) -> Deferred | None:
        return None if receipts is not None else context.deferred.for_receipts(poller, args.id, args.timeout_s)

    return Work("read", poller.poll, _as_receipts, deferred=start, is_page=True)


def _receipts(context: Context, message_id: int) -> list[Receipt]:
    return context.reader.receipts(message_id)


def _as_receipts(receipts: list[Receipt]) -> dict[str, Any]:
    return {"receipts": [receipt.as_dict() for receipt in receipts]}


def history(context: Context, args: params.History) -> Work:
    """Return the whole messages of one conversation or task, in order."""
    bus, role = context.view(context.host.reader_bus, args.role), context.filter(args.role)
    return Work(
        "log",
        lambda: bus.history(
            args.correlation_id, task_id=args.task_id, role=role, max=args.max, max_bytes=MAX_PAGE_BYTES
        ),
        as_messages,
        weight=args.max,
        is_page=True,
    )


def thread(context: Context, args: params.Thread) -> Work:
    """Return the conversation of a message: all messages that it answers, and all replies, whole and in order."""
    bus, role = context.view(context.host.reader_bus, args.role), context.filter(args.role)

    return Work(
        "log",
        lambda: bus.thread(args.id, role=role, max=args.max, max_bytes=MAX_PAGE_BYTES),
        as_messages,
        weight=args.max,
        is_page=True,
    )


def peers(context: Context, args: params.Peers) -> Work:
    """List the addresses that are registered or have mail, with their waiters, times and pending messages."""
    bus = context.reader
    return Work("read", lambda: bus.peers(args.session), _as_peers, is_page=True)


def _as_peers(peers: list[Peer]) -> dict[str, Any]:
    return {"peers": [peer.as_dict() for peer in peers]}


def last_id(context: Context, args: params.Params) -> Work:
    """Return the id of the newest message, 0 on an empty bus."""
    return Work("read", context.reader.last_id, lambda last: {"id": last})
