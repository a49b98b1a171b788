"""Read: the methods that look at messages and change nothing."""

from __future__ import annotations

from functools import partial
from typing import Any

from raven.host.deferred import Deferred
from raven.model.message import Message
from raven.model.status import Receipt
from raven.query.receipts import ReceiptPoller
from raven_rpc.methods import params
from raven_rpc.methods.context import Context
from raven_rpc.methods.method import Work
from raven_rpc.methods.receive import MAX_PAGE_BYTES, as_messages

# A read of one message brings its body, which may be long: it counts for so many writes.
_ONE_READ = 100


def read(context: Context, given: params.OfMessage) -> Work:
    """Return one message, as the given address has it, or as a whole; changes nothing."""
    role = context.optional_role(given.role)
    return Work("read", lambda: context.visible(context.reader, given.id, role), Message.as_dict, weight=_ONE_READ)


def recipients(context: Context, given: params.OneMessage) -> Work:
    """List the addresses that a message was delivered to."""

    def find() -> list[str]:
        context.visible(context.reader, given.id, None)
        return context.reader.recipients(given.id)

    return Work("read", find, lambda found: {"recipients": found})


def receipts(context: Context, given: params.OneMessage) -> Work:
    """Return how far each delivery of a message has come, in the order of its recipients."""
    return Work("read", partial(_receipts, context, given.id), _as_receipts)


def wait_receipt(context: Context, given: params.WaitReceipt) -> Work:
    """Wait until every delivery of a message has come so far, and return the receipts; others overtake it."""
    poller = ReceiptPoller(partial(_receipts, context, given.id), given.id, given.state)
    context.deferred.reserve()

    def start(found: list[Receipt] | None) -> Deferred | None:
        return None if found is not None else context.deferred.for_receipts(poller, given.id, given.timeout_s)

    return Work("read", poller.poll, _as_receipts, deferred=start)


def _receipts(context: Context, message_id: int) -> list[Receipt]:
    if context.bound:
        context.visible(context.reader, message_id, None)
    return context.reader.receipts(message_id)


def _as_receipts(found: list[Receipt]) -> dict[str, Any]:
    return {"receipts": [receipt.as_dict() for receipt in found]}


def history(context: Context, given: params.History) -> Work:
    """Return the messages of one conversation or task in order, each as a whole."""
    bus, scope = context.reader, context.scope(given.role)
    return Work(
        "read",
        lambda: bus.history(
            given.correlation_id, task_id=given.task_id, role=scope, max=given.max, max_bytes=MAX_PAGE_BYTES
        ),
        as_messages,
        weight=given.max,
    )


def thread(context: Context, given: params.Thread) -> Work:
    """Return all messages that one answers and all that answer it, step by step, in order, each as a whole."""
    bus, scope = context.reader, context.scope(given.role)

    def find() -> list[Message]:
        if context.bound:
            context.visible(bus, given.id, None)
        return bus.thread(given.id, role=scope, max=given.max, max_bytes=MAX_PAGE_BYTES)

    return Work("read", find, as_messages, weight=given.max)


def peers(context: Context, given: params.Peers) -> Work:
    """List who is registered or has mail: who is waiting now, who was seen when, how much waits for each."""
    bus = context.reader
    return Work("read", lambda: bus.peers(given.session), lambda found: {"peers": [peer.as_dict() for peer in found]})


def last_id(context: Context, given: params.Params) -> Work:
    """Return the id of the newest message, 0 on an empty bus."""
    return Work("read", context.reader.last_id, lambda last: {"id": last})
