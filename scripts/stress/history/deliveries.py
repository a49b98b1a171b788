"""Handouts: what recipients were promised, by the way in which they take their mail.

Times of different processes compare, since all have one monotonic clock. What is not known exactly counts in favour of
the code under test: a lease begins no earlier than its consumer asked, and a death is no earlier than its last event.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from scripts.stress.history.history import Ack, Delivery, History, Life, Receipt
from scripts.stress.history.verdict import Verdict

# Leases follow the calendar's clock, which the system may slow down or speed up a little.
_CLOCK_SLACK_S = 0.05


def only_what_was_sent_is_received(history: History) -> Iterator[Verdict]:
    """Demand that what is received is in the bus, was sent to that address, and is what was sent."""
    stored = {message.id: message for message in history.look.messages}
    there = {(delivery.recipient, delivery.message) for delivery in history.look.deliveries}
    for receipt in history.receipts:
        message = stored.get(receipt.id)
        who = f"{receipt.life} at {receipt.address} received #{receipt.id} ({receipt.token})"
        if message is None or (receipt.address, receipt.id) not in there:
            yield Verdict("broken", f"{who}, which was not sent there")
        elif (message.token, message.digest, message.urgency) != (receipt.token, receipt.digest, receipt.urgency):
            yield Verdict("broken", f"{who}, which is not what was sent ({message.token})")


def auto_mail_is_received_at_most_once(history: History) -> Iterator[Verdict]:
    """Demand that what is acked by being taken is taken once, by one."""
    modes = history.modes()
    for (address, id), receipts in history.receipts_by_delivery().items():
        if modes[address] == "auto" and len(receipts) > 1:
            lives = ", ".join(receipt.life for receipt in receipts)
            yield Verdict(
                "duplicated", f"#{id} at {address} was received {len(receipts)} times with automatic acks: {lives}"
            )


def a_death_loses_what_was_in_hand(history: History) -> Iterator[Verdict]:
    """Demand that automatic acks lose only what was in the hands of a consumer, or of the helper, that was killed."""
    modes = history.modes()
    received = {(receipt.address, receipt.id) for receipt in history.receipts}
    for address in (address for address, mode in modes.items() if mode == "auto"):
        risks = _risks(history, address)
        for delivery in sorted(_of(history, address), key=lambda delivery: delivery.finished_wall or 0.0):
            if (address, delivery.message) in received or delivery.state in ("sent", "delivered"):
                continue
            if delivery.state != "acked" or delivery.finished_wall is None:
                yield Verdict("lost", f"#{delivery.message} at {address} is {delivery.state}, and nobody received it")
            elif not _used_up(risks, delivery.finished_wall):
                yield Verdict(
                    "lost", f"#{delivery.message} at {address} was acked, never received, and in no dying hands"
                )


def manual_mail_is_finished_by_its_consumer(history: History) -> Iterator[Verdict]:
    """Demand that what is to be acked by hand is finished by a consumer's ack, or dead after its last attempt."""
    modes = history.modes()
    acks: dict[tuple[str, int], list[Ack]] = {}
    for ack in history.acks:
        acks.setdefault((ack.address, ack.id), []).append(ack)
    receipts = history.receipts_by_delivery()
    for delivery in history.look.deliveries:
        if modes.get(delivery.recipient) not in ("manual", "transaction"):
            continue
        name, where = (delivery.recipient, delivery.message), f"#{delivery.message} at {delivery.recipient}"
        tried = acks.get(name, [])
        if delivery.state == "acked" and all(ack.outcome == "refused" for ack in tried):
            yield Verdict("lost", f"{where} is acked, and no consumer has done that")
        if delivery.state != "acked" and any(ack.outcome == "done" for ack in tried):
            yield Verdict("broken", f"{where} is {delivery.state}, and an ack of it returned")
        if delivery.state == "expired" or (delivery.state == "dead" and delivery.attempts < delivery.max_attempts):
            yield Verdict("lost", f"{where} is {delivery.state} after {delivery.attempts} attempts")
        if not len(receipts.get(name, [])) <= delivery.attempts <= delivery.max_attempts:
            had = f"{len(receipts.get(name, []))} times, {delivery.attempts} of {delivery.max_attempts} attempts"
            yield Verdict("duplicated", f"{where} was received more often than was counted: {had}")


def nothing_comes_back_after_its_ack(history: History) -> Iterator[Verdict]:
    """Demand that what an ack has finished is handed out to nobody again, and that only one lease finishes it."""
    finished: dict[tuple[str, int], Ack] = {}
    for ack in sorted(history.acks, key=lambda ack: ack.end):
        if ack.outcome != "done":
            continue
        first = finished.setdefault((ack.address, ack.id), ack)
        if first.lease != ack.lease:
            who = f"{first.life} and {ack.life}"
            yield Verdict("duplicated", f"#{ack.id} at {ack.address} was acked under two leases, by {who}")
    for receipt in history.receipts:
        done = finished.get((receipt.address, receipt.id))
        if done is not None and receipt.asked > done.end:
            who = f"{receipt.life} received #{receipt.id} at {receipt.address}"
            yield Verdict("duplicated", f"{who} after {done.life} had acked it")


def two_never_hold_the_same(history: History) -> Iterator[Verdict]:
    """Demand that what one has under a lease comes to no other before it is given back or the lease is over."""
    modes = history.modes()
    for (address, id), receipts in history.receipts_by_delivery().items():
        if modes[address] == "auto":
            continue
        # By attempts, and not by the times at which they were written down: one that stands still writes late.
        for before, after in pairwise(sorted(receipts, key=lambda receipt: receipt.attempts)):
            if after.at < _freed(before, history.lives[before.life]):
                who = f"{before.life} and {after.life}"
                yield Verdict("duplicated", f"#{id} at {address} was in two hands at once: of {who}")
        attempts = [receipt.attempts for receipt in receipts]
        if len(set(attempts)) < len(attempts):
            yield Verdict("duplicated", f"#{id} at {address} was received at the same attempt twice: {attempts}")


def a_transaction_has_its_effect_once(history: History) -> Iterator[Verdict]:
    """Demand that the row that a transaction writes with its ack is there once where the ack is, and only there."""
    modes = history.modes()
    rows = Counter(message for message, _ in history.look.effects)
    for delivery in history.look.deliveries:
        if modes.get(delivery.recipient) != "transaction":
            continue
        count, where = rows.pop(delivery.message, 0), f"#{delivery.message} at {delivery.recipient}"
        if count > 1:
            yield Verdict("duplicated", f"{where} had its effect {count} times")
        elif count and delivery.state != "acked":
            yield Verdict("broken", f"{where} had its effect, and is {delivery.state}")
        elif not count and delivery.state == "acked":
            yield Verdict("lost", f"{where} is acked, and had no effect")
    for message in rows:
        yield Verdict("broken", f"#{message} had an effect, and was not sent to whoever does that")
    written = set(history.look.effects)
    for ack in history.acks:
        if modes[ack.address] == "transaction" and ack.outcome == "done" and (ack.id, ack.life) not in written:
            yield Verdict("lost", f"the transaction of {ack.life} for #{ack.id} returned, and its effect is not there")


def _of(history: History, address: str) -> Iterator[Delivery]:
    return (delivery for delivery in history.look.deliveries if delivery.recipient == address)


def _freed(receipt: Receipt, holder: Life) -> float:
    """Return when another could have the message at the earliest."""
    freed = min(receipt.freed, receipt.fetched + holder.lease_s - _CLOCK_SLACK_S)
    # The helper gives back what a connection held as soon as that ends.
    if holder.over == "socket":
        freed = min(freed, max(holder.heard, receipt.at))
    return freed


def _risks(history: History, address: str) -> list[list[float]]:
    """Return between which times how many messages can have been in dying hands: [from, to, how many]."""
    consumers = [life for life in history.lives.values() if life.address == address]
    # Over the socket it may have been on its way before the last event.
    risks = [
        [life.heard_wall if life.over == "file" else life.began_wall, life.ended_wall, life.at_risk]
        for life in consumers
        if life.was_killed
    ]
    at_helpers_risk = sum({life.name.partition(".")[0]: life.at_helpers_risk for life in consumers}.values())
    if at_helpers_risk:
        helpers = (life for life in history.lives.values() if life.name.startswith("server.") and life.was_killed)
        risks += [[life.began_wall, life.ended_wall, at_helpers_risk] for life in helpers]
    return sorted(risks, key=lambda risk: risk[1])


def _used_up(risks: list[list[float]], wall: float) -> bool:
    """Charge the loss of a message to the first death that can have caused it; returns whether there was one."""
    for risk in risks:
        if risk[2] > 0 and risk[0] - _CLOCK_SLACK_S <= wall <= risk[1] + _CLOCK_SLACK_S:
            risk[2] -= 1
            return True
    return False


RULES = (
    only_what_was_sent_is_received,
    auto_mail_is_received_at_most_once,
    a_death_loses_what_was_in_hand,
    manual_mail_is_finished_by_its_consumer,
    nothing_comes_back_after_its_ack,
    two_never_hold_the_same,
    a_transaction_has_its_effect_once,
)
