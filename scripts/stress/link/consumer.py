"""Receive at an address without end, in the mode of the role, and record every message."""

from __future__ import annotations

from raven import BusClient, BusyError, Message
from scripts.stress.history.call_recorder import ADD_EFFECT
from scripts.stress.kill9.actor import Actor, run_actor
from scripts.stress.kill9.consumer import ack_or_nack
from scripts.stress.link.roles import ROLES

_LEASE_S = 3.0
_POLL_S = 1.0


def consume(actor: Actor) -> None:
    """Receive until the process is killed; again after a BusyError."""
    role = ROLES[actor.name]
    bus = BusClient.at(role.address, actor.db)
    act = {"transaction": _ack_in_transaction, "manual": ack_or_nack, "answer": _answer}[role.mode]
    while True:
        if role.mode != "answer":
            actor.consuming(bus.address, role.mode, lease_s=_LEASE_S)
        messages = bus.listen(ack="manual", lease_s=_LEASE_S, max_per_poll=1, poll_interval_s=_POLL_S)
        try:
            for message in messages if role.mode == "answer" else actor.each(messages):
                act(actor, bus, message)
        except BusyError:
            actor.journal.write("leaving")


def _ack_in_transaction(actor: Actor, bus: BusClient, message: Message) -> None:
    """Write a row and ack the message, in one commit."""

    def commit() -> bool:
        with bus.transaction() as tx:
            tx.execute(ADD_EFFECT, (message.id, actor.process))
            tx.ack(message.id)
        return True

    actor.call("acking", "acked", commit, id=message.id, lease=message.lease)


def _answer(actor: Actor, bus: BusClient, message: Message) -> None:
    """Write a row, reply to a question and ack it, in one commit; a question that was withdrawn gets no reply."""

    def commit() -> bool:
        with bus.transaction() as tx:
            tx.execute(ADD_EFFECT, (message.id, actor.process))
            tx.reply(message.id, "answer", {"answer": message.body["number"]})
            tx.ack(message.id)
        return True

    actor.call("answering", "answered", commit)


if __name__ == "__main__":
    run_actor(consume)
