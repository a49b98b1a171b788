"""Views: the methods that look at messages and change nothing."""

from __future__ import annotations

from functools import partial
from typing import Any

from raven import Message, Receipt, Tracker
from raven_rpc.methods import params
from raven_rpc.methods.caller import Caller
from raven_rpc.methods.receive import MAX_PAGE_BYTES, as_messages
from raven_rpc.methods.visibility import visible
from raven_rpc.server.waits import ReceiptWait
from raven_rpc.server.worker import Work

# A read of one message brings its body, which may be long: it counts for so many writes.
_ONE_READ = 100


def read(caller: Caller, given: params.OfMessage) -> Work:
    """Return one message, as the given address has it, or as a whole; changes nothing."""
    role = caller.optional_role(given.role)
    bus = caller.server.reader_bus
    return Work("read", lambda: visible(bus, given.id, role, caller.bound), Message.as_dict, weight=_ONE_READ)


def recipients(caller: Caller, given: params.OneMessage) -> Work:
    """List the addresses that a message was delivered to."""
    bus, bound = caller.server.reader_bus, caller.bound

    def find() -> list[str]:
        visible(bus, given.id, None, bound)
        return list(bus.recipients(given.id))

    return Work("read", find, lambda found: {"recipients": found})


def receipts(caller: Caller, given: params.OneMessage) -> Work:
    """Return how far each delivery of a message has come, in the order of its recipients."""
    return Work("read", partial(_receipts, caller, given.id), _as_receipts)


def wait_receipt(caller: Caller, given: params.WaitReceipt) -> Work:
    """Wait until every delivery of a message has come so far, and return the receipts; others overtake it."""
    server, connection = caller.server, caller.connection
    tracker = Tracker(partial(_receipts, caller, given.id), given.id, given.state)
    connection.waits.admit()

    def wait(found: list[Receipt] | None) -> ReceiptWait | None:
        return None if found is not None else ReceiptWait(server, connection, given.id, tracker, given.timeout_s)

    return Work("read", tracker.look, _as_receipts, wait=wait)


def _receipts(caller: Caller, message_id: int) -> list[Receipt]:
    bus = caller.server.reader_bus
    if caller.bound:
        visible(bus, message_id, None, caller.bound)
    return list(bus.receipts(message_id))


def _as_receipts(found: list[Receipt]) -> dict[str, Any]:
    return {"receipts": [receipt.as_dict() for receipt in found]}


def history(caller: Caller, given: params.History) -> Work:
    """Return the messages of one conversation or task in order, each as a whole."""
    bus, scope = caller.server.reader_bus, caller.scope(given.role)
    return Work(
        "read",
        lambda: bus.history(
            given.correlation_id, task_id=given.task_id, role=scope, max=given.max, max_bytes=MAX_PAGE_BYTES
        ),
        as_messages,
        weight=given.max,
    )


def thread(caller: Caller, given: params.Thread) -> Work:
    """Return all messages that one answers and all that answer it, step by step, in order, each as a whole."""
    bus, bound, scope = caller.server.reader_bus, caller.bound, caller.scope(given.role)

    def find() -> list[Message]:
        if bound:
            visible(bus, given.id, None, bound)
        return list(bus.thread(given.id, role=scope, max=given.max, max_bytes=MAX_PAGE_BYTES))

    return Work("read", find, as_messages, weight=given.max)


def peers(caller: Caller, given: params.Peers) -> Work:
    """List who is registered or has mail: who is waiting now, who was seen when, how much waits for each."""
    bus = caller.server.reader_bus
    return Work("read", lambda: bus.peers(given.session), lambda found: {"peers": [peer.as_dict() for peer in found]})


def last_id(caller: Caller, given: params.Params) -> Work:
    """Return the id of the newest message, 0 on an empty bus."""
    return Work("read", caller.server.reader_bus.last_id, lambda last: {"id": last})
