"""Deliveries: the rules for receiving, by the mode in which the consumers of an address receive.

All processes share one monotonic clock, so that their times compare. An unknown time counts in favour of the code under
test: a lease begins no earlier than its consumer's request, and a kill is no earlier than the last event.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from scripts.stress.history.history import Ack, Delivery, History, Process, Reception
from scripts.stress.history.verdict import Verdict

# Leases follow the calendar clock, which the system may speed up or slow down slightly.
_CLOCK_SLACK_S = 0.05


def only_sent_messages_are_received(history: History) -> Iterator[Verdict]:
    """Demand that every received message is in the bus, was sent to that address, and is unchanged."""
    stored = {message.id: message for message in history.dump.messages}
    deliveries = {(delivery.recipient, delivery.message) for delivery in history.dump.deliveries}
    for reception in history.receptions:
        message = stored.get(reception.id)
        reading = f"{reception.process} at {reception.address} received #{reception.id} ({reception.token})"
        expected = (reception.token, reception.digest, reception.urgency)
        if message is None or (reception.address, reception.id) not in deliveries:
            yield Verdict("broken", f"{reading}, which was not sent there")
        elif (message.token, message.digest, message.urgency) != expected:
            yield Verdict("broken", f"{reading}, which differs from the stored message ({message.token})")


def auto_acked_messages_are_received_at_most_once(history: History) -> Iterator[Verdict]:
    """Demand that one consumer receives a message with an automatic ack, once."""
    modes = history.modes()
    for (address, id), receptions in history.receptions_by_delivery().items():
        if modes[address] == "auto" and len(receptions) > 1:
            names = ", ".join(reception.process for reception in receptions)
            yield Verdict(
                "duplicated", f"#{id} at {address} was received {len(receptions)} times with automatic acks: {names}"
            )


def a_kill_loses_only_messages_in_flight(history: History) -> Iterator[Verdict]:
    """Demand that automatic acks lose only messages that a killed consumer or server held."""
    modes = history.modes()
    received = {(reception.address, reception.id) for reception in history.receptions}
    for address in (address for address, mode in modes.items() if mode == "auto"):
        risks = _risks(history, address)
        for delivery in sorted(_deliveries_to(history, address), key=lambda delivery: delivery.finished_wall or 0.0):
            if (address, delivery.message) in received or delivery.state in ("sent", "delivered"):
                continue
            if delivery.state != "acked" or delivery.finished_wall is None:
                text = f"#{delivery.message} at {address} is {delivery.state}, and no consumer received it"
                yield Verdict("lost", text)
            elif not _use_risk(risks, delivery.finished_wall):
                text = f"#{delivery.message} at {address} was acked, never received, and no killed process held it"
                yield Verdict("lost", text)


def manually_acked_messages_are_finished_by_a_consumer(history: History) -> Iterator[Verdict]:
    """Demand that a message with manual acks ends by a consumer's ack, or is dead after its last attempt."""
    modes = history.modes()
    acks: dict[tuple[str, int], list[Ack]] = {}
    for ack in history.acks:
        acks.setdefault((ack.address, ack.id), []).append(ack)
    receptions = history.receptions_by_delivery()
    for delivery in history.dump.deliveries:
        if modes.get(delivery.recipient) not in ("manual", "transaction"):
            continue
        key, name = (delivery.recipient, delivery.message), f"#{delivery.message} at {delivery.recipient}"
        attempted = acks.get(key, [])
        if delivery.state == "acked" and all(ack.outcome == "refused" for ack in attempted):
            yield Verdict("lost", f"{name} is acked, and no consumer has acked it")
        if delivery.state != "acked" and any(ack.outcome == "done" for ack in attempted):
            yield Verdict("broken", f"{name} is {delivery.state}, and an ack of it returned")
        if delivery.state == "expired" or (delivery.state == "dead" and delivery.attempts < delivery.max_attempts):
            yield Verdict("lost", f"{name} is {delivery.state} after {delivery.attempts} attempts")
        times = len(receptions.get(key, []))
        if not times <= delivery.attempts <= delivery.max_attempts:
            counts = f"{times} times, {delivery.attempts} of {delivery.max_attempts} attempts"
            yield Verdict("duplicated", f"{name} was received more often than its attempts say: {counts}")


def an_acked_message_does_not_return(history: History) -> Iterator[Verdict]:
    """Demand that no consumer receives a message after its ack, and that only one lease acks it."""
    first_acks: dict[tuple[str, int], Ack] = {}
    for ack in sorted(history.acks, key=lambda ack: ack.end):
        if ack.outcome != "done":
            continue
        first = first_acks.setdefault((ack.address, ack.id), ack)
        if first.lease != ack.lease:
            text = f"#{ack.id} at {ack.address} was acked under two leases, by {first.process} and {ack.process}"
            yield Verdict("duplicated", text)
    for reception in history.receptions:
        acked = first_acks.get((reception.address, reception.id))
        if acked is not None and reception.asked > acked.end:
            reading = f"{reception.process} received #{reception.id} at {reception.address}"
            yield Verdict("duplicated", f"{reading} after {acked.process} had acked it")


def two_consumers_never_hold_one_message(history: History) -> Iterator[Verdict]:
    """Demand that no consumer receives a message that another holds under a lease, before its release or expiry."""
    modes = history.modes()
    for (address, id), receptions in history.receptions_by_delivery().items():
        if modes[address] == "auto":
            continue
        # By attempts, and not by time: a process that was stopped writes its events late.
        for before, after in pairwise(sorted(receptions, key=lambda reception: reception.attempts)):
            if after.at < _earliest_release(before, history.processes[before.process]):
                text = f"#{id} at {address} was held twice at once: by {before.process} and {after.process}"
                yield Verdict("duplicated", text)
        attempts = [reception.attempts for reception in receptions]
        if len(set(attempts)) < len(attempts):
            yield Verdict("duplicated", f"#{id} at {address} was received at the same attempt twice: {attempts}")


def a_transaction_has_its_effect_once(history: History) -> Iterator[Verdict]:
    """Demand one row for each ack that was committed in a transaction with that row, and no other rows."""
    modes = history.modes()
    rows = Counter(message for message, _ in history.dump.effects)
    for delivery in history.dump.deliveries:
        if modes.get(delivery.recipient) != "transaction":
            continue
        count, name = rows.pop(delivery.message, 0), f"#{delivery.message} at {delivery.recipient}"
        if count > 1:
            yield Verdict("duplicated", f"{name} had its effect {count} times")
        elif count and delivery.state != "acked":
            yield Verdict("broken", f"{name} had its effect, and is {delivery.state}")
        elif not count and delivery.state == "acked":
            yield Verdict("lost", f"{name} is acked, and had no effect")
    for message in rows:
        yield Verdict("broken", f"#{message} had an effect, and was not sent to an address with transactions")
    effects = set(history.dump.effects)
    for ack in history.acks:
        is_done = modes[ack.address] == "transaction" and ack.outcome == "done"
        if is_done and (ack.id, ack.process) not in effects:
            yield Verdict("lost", f"the transaction of {ack.process} for #{ack.id} returned, and has no effect")


def _deliveries_to(history: History, address: str) -> Iterator[Delivery]:
    return (delivery for delivery in history.dump.deliveries if delivery.recipient == address)


def _earliest_release(reception: Reception, holder: Process) -> float:
    """Return the earliest time at which another consumer may have received the message."""
    released = min(reception.released, reception.fetched + holder.lease_s - _CLOCK_SLACK_S)
    # The server releases the messages of a connection as soon as that ends.
    if holder.transport == "socket":
        released = min(released, max(holder.last_event, reception.at))
    return released


def _risks(history: History, address: str) -> list[list[float]]:
    """Return [from, to, how many] for each kill that may have lost messages: the time span and their number."""
    consumers = [process for process in history.processes.values() if process.address == address]
    # Over the socket the message may have been in transit before the consumer's last event.
    risks = [
        [
            process.last_event_wall if process.transport == "file" else process.began_wall,
            process.ended_wall,
            process.at_risk,
        ]
        for process in consumers
        if process.was_killed
    ]
    at_risk_in_server = sum({one.name.partition(".")[0]: one.at_risk_in_server for one in consumers}.values())
    if at_risk_in_server:
        servers = (one for one in history.processes.values() if one.name.startswith("server.") and one.was_killed)
        risks += [[server.began_wall, server.ended_wall, at_risk_in_server] for server in servers]
    return sorted(risks, key=lambda risk: risk[1])


def _use_risk(risks: list[list[float]], wall: float) -> bool:
    """Charge the loss of a message to the first kill that can have caused it; returns False if there is none."""
    for risk in risks:
        if risk[2] > 0 and risk[0] - _CLOCK_SLACK_S <= wall <= risk[1] + _CLOCK_SLACK_S:
            risk[2] -= 1
            return True
    return False


RULES = (
    only_sent_messages_are_received,
    auto_acked_messages_are_received_at_most_once,
    a_kill_loses_only_messages_in_flight,
    manually_acked_messages_are_finished_by_a_consumer,
    an_acked_message_does_not_return,
    two_consumers_never_hold_one_message,
    a_transaction_has_its_effect_once,
)
