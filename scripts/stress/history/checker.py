"""Checker: decides by a history whether every promise was kept; it knows nothing of the code under test.

It reads what the processes have written down and what is left in the bus, and believes neither alone. What a call did
whose process was killed in it nobody knows, so that it may have been done or not, but wholly and once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

from scripts.stress.history import deliveries, order
from scripts.stress.history.history import History, Sending, Stored
from scripts.stress.history.verdict import Verdict

Rule = Callable[[History], Iterator[Verdict]]


def check(history: History, rules: Iterable[Rule] | None = None) -> list[Verdict]:
    """Return every promise that was not kept, by all rules unless some are given."""
    found = [Verdict("broken", failure) for failure in history.failures]
    for rule in (*RULES, *deliveries.RULES, *order.RULES) if rules is None else rules:
        found += rule(history)
    return found


def every_send_that_returned_is_there(history: History) -> Iterator[Verdict]:
    """Demand that a send that returned is committed, under the id that it returned."""
    stored = {message.id: message for message in history.look.messages}
    for sending in history.sendings:
        if sending.outcome != "done":
            continue
        for post, id in zip(sending.posts, sending.ids, strict=True):
            message = stored.get(id)
            if message is None:
                yield Verdict("lost", f"{post.token} was sent as #{id} by {sending.life}, and is not in the bus")
            elif message.token != post.token:
                yield Verdict("broken", f"{post.token} was sent as #{id}, which is {message.token} in the bus")


def every_message_is_there_once_and_whole(history: History) -> Iterator[Verdict]:
    """Demand that what is there was sent, is there once, unchanged and to all its recipients."""
    posts = {post.token: (post, sending) for sending in history.sendings for post in sending.posts}
    copies: dict[str, list[int]] = defaultdict(list)
    recipients: dict[int, list[str]] = defaultdict(list)
    for delivery in history.look.deliveries:
        recipients[delivery.message].append(delivery.recipient)
    for message in history.look.messages:
        copies[message.token].append(message.id)
        got = sorted(recipients.pop(message.id, []))
        if message.token not in posts:
            yield Verdict("broken", f"#{message.id} is in the bus ({message.token!r}), and nobody has sent it")
            continue
        post, sending = posts[message.token]
        if (message.digest, message.urgency, message.key) != (post.digest, post.urgency, sending.key):
            yield Verdict("broken", f"#{message.id} ({post.token}) is not in the bus as it was sent")
        wanted = sorted(post.to)
        for address in wanted:
            if address not in got:
                yield Verdict("lost", f"#{message.id} ({post.token}) has no delivery to {address}")
        if len(got) > len(set(got)) or set(got) - set(wanted):
            yield Verdict("duplicated", f"#{message.id} ({post.token}) went to {got} instead of {wanted}")
    for id in recipients:
        yield Verdict("lost", f"#{id} has deliveries, and is not in the bus itself")
    for token, ids in copies.items():
        if len(ids) > 1:
            yield Verdict("duplicated", f"{token} is in the bus {len(ids)} times: {ids}")


def a_refused_send_left_nothing(history: History) -> Iterator[Verdict]:
    """Demand that a send that raised an error wrote nothing."""
    attempts: dict[str, list[Sending]] = defaultdict(list)
    for sending in history.sendings:
        for post in sending.posts:
            attempts[post.token].append(sending)
    for message in history.look.messages:
        tried = attempts[message.token]
        if tried and all(sending.outcome == "refused" for sending in tried):
            yield Verdict("broken", f"#{message.id} ({message.token}) is in the bus, and to send it was refused")


def many_are_sent_together_or_not(history: History) -> Iterator[Verdict]:
    """Demand that of what is sent in one call either all is there or nothing, in the order of the call."""
    ids = {message.token: message.id for message in history.look.messages}
    for sending in history.sendings:
        there = [ids[post.token] for post in sending.posts if post.token in ids]
        if there and len(there) < len(sending.posts):
            some = f"{len(there)} of {len(sending.posts)} messages"
            yield Verdict("broken", f"{some} that {sending.life} sent together are in the bus ({there})")
        if there != sorted(there):
            yield Verdict("reordered", f"what {sending.life} sent together has the ids {there}")


def a_key_is_one_message(history: History) -> Iterator[Verdict]:
    """Demand that of all sends of one sender under one dedup_key one message is there."""
    found: dict[tuple[str, str], Stored] = {}
    for message in history.look.messages:
        if message.key is not None:
            first = found.setdefault((message.sender, message.key), message)
            if first is not message:
                yield Verdict(
                    "duplicated", f"{message.key} of {message.sender} is in the bus as #{first.id}, #{message.id}"
                )


RULES: tuple[Rule, ...] = (
    every_send_that_returned_is_there,
    every_message_is_there_once_and_whole,
    a_refused_send_left_nothing,
    many_are_sent_together_or_not,
    a_key_is_one_message,
)
