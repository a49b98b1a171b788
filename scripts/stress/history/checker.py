"""Checker: decides by a history whether raven kept every promise; it imports nothing of the code under test.

It compares the journals of the processes with the contents of the bus, and trusts neither alone. If a process was
killed in a call, the effect of that call is unknown: the call may have been made or not, but wholly and once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

from scripts.stress.history import deliveries, order
from scripts.stress.history.history import History, Sending, StoredMessage
from scripts.stress.history.verdict import Verdict

Rule = Callable[[History], Iterator[Verdict]]


def check(history: History, rules: Iterable[Rule] | None = None) -> list[Verdict]:
    """Return every broken promise, by the given rules or by all."""
    verdicts = [Verdict("broken", failure) for failure in history.failures]
    for rule in (*RULES, *deliveries.RULES, *order.RULES) if rules is None else rules:
        verdicts += rule(history)
    return verdicts


def every_returned_send_is_stored(history: History) -> Iterator[Verdict]:
    """Demand that a send that returned is committed, under the returned id."""
    stored = {message.id: message for message in history.dump.messages}
    for sending in history.sendings:
        if sending.outcome != "done":
            continue
        for sent, id in zip(sending.messages, sending.ids, strict=True):
            message = stored.get(id)
            if message is None:
                yield Verdict("lost", f"{sent.token} was sent as #{id} by {sending.process}, and is not in the bus")
            elif message.token != sent.token:
                yield Verdict("broken", f"{sent.token} was sent as #{id}, and #{id} in the bus is {message.token}")


def every_message_is_stored_once_and_whole(history: History) -> Iterator[Verdict]:
    """Demand that every stored message was sent, is stored once, is unchanged, and has all its recipients."""
    sent_messages = {sent.token: (sent, sending) for sending in history.sendings for sent in sending.messages}
    copies: dict[str, list[int]] = defaultdict(list)
    recipients: dict[int, list[str]] = defaultdict(list)
    for delivery in history.dump.deliveries:
        recipients[delivery.message].append(delivery.recipient)
    for message in history.dump.messages:
        copies[message.token].append(message.id)
        actual = sorted(recipients.pop(message.id, []))
        if message.token not in sent_messages:
            yield Verdict("broken", f"#{message.id} ({message.token!r}) is in the bus, and no process has sent it")
            continue
        sent, sending = sent_messages[message.token]
        if (message.digest, message.urgency, message.key) != (sent.digest, sent.urgency, sending.key):
            yield Verdict("broken", f"#{message.id} ({sent.token}) in the bus differs from the message that was sent")
        expected = sorted(sent.to)
        for address in expected:
            if address not in actual:
                yield Verdict("lost", f"#{message.id} ({sent.token}) has no delivery to {address}")
        if len(actual) > len(set(actual)) or set(actual) - set(expected):
            yield Verdict("duplicated", f"#{message.id} ({sent.token}) went to {actual} instead of {expected}")
    for id in recipients:
        yield Verdict("lost", f"#{id} has deliveries, and the message is not in the bus")
    for token, ids in copies.items():
        if len(ids) > 1:
            yield Verdict("duplicated", f"{token} is in the bus {len(ids)} times: {ids}")


def a_refused_send_stores_nothing(history: History) -> Iterator[Verdict]:
    """Demand that a send that raised an error stored nothing."""
    attempts: dict[str, list[Sending]] = defaultdict(list)
    for sending in history.sendings:
        for sent in sending.messages:
            attempts[sent.token].append(sending)
    for message in history.dump.messages:
        sendings = attempts[message.token]
        if sendings and all(sending.outcome == "refused" for sending in sendings):
            yield Verdict("broken", f"#{message.id} ({message.token}) is in the bus, and its send was refused")


def messages_of_one_call_are_stored_together(history: History) -> Iterator[Verdict]:
    """Demand that a call stored all of its messages or none, in the order of the call."""
    ids = {message.token: message.id for message in history.dump.messages}
    for sending in history.sendings:
        stored = [ids[sent.token] for sent in sending.messages if sent.token in ids]
        if stored and len(stored) < len(sending.messages):
            part = f"{len(stored)} of {len(sending.messages)} messages"
            yield Verdict("broken", f"{part} that {sending.process} sent in one call are in the bus ({stored})")
        if stored != sorted(stored):
            yield Verdict("reordered", f"the messages that {sending.process} sent in one call have the ids {stored}")


def a_key_is_one_message(history: History) -> Iterator[Verdict]:
    """Demand that all sends of one sender under one dedup_key stored one message."""
    by_key: dict[tuple[str, str], StoredMessage] = {}
    for message in history.dump.messages:
        if message.key is not None:
            first = by_key.setdefault((message.sender, message.key), message)
            if first is not message:
                yield Verdict(
                    "duplicated", f"{message.key} of {message.sender} is in the bus as #{first.id}, #{message.id}"
                )


RULES: tuple[Rule, ...] = (
    every_returned_send_is_stored,
    every_message_is_stored_once_and_whole,
    a_refused_send_stores_nothing,
    messages_of_one_call_are_stored_together,
    a_key_is_one_message,
)
