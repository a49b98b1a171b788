"""Merge: the journals and the buses of all hosts, as one history of what each host has sent.

A message has another id on each host. In the history of the host that sent it, every reception, ack and effect has the
id there; the message is recognized by its token. Deliveries are those of the sending host: so its receipts are judged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from scripts.stress.history import checker, deliveries, order
from scripts.stress.history.assemble import history_of
from scripts.stress.history.history import BusDump, History
from scripts.stress.history.journal import Event
from scripts.stress.history.verdict import Verdict
from scripts.stress.link.roles import POOL, host_of

# An event of another type says nothing about a message of the trial.
_OWN_EVENTS = ("answering", "answered")


def verdicts(dumps: Mapping[str, BusDump], events: Iterable[Event]) -> list[Verdict]:
    """Return every broken promise, by the contents of the buses by host, and the events of all processes."""
    found = []
    for history in split(dumps, events).values():
        found += checker.check(history, [*checker.RULES, order.ids_grow_in_time])
        for address in history.modes():
            rules = list(deliveries.RULES)
            if address != POOL:
                rules.append(order.messages_of_one_urgency_come_by_id)
            found += checker.check(_of_address(history, address), rules)
    return found


def split(dumps: Mapping[str, BusDump], events: Iterable[Event]) -> dict[str, History]:
    """Return by host the history of the messages that it has sent."""
    tokens = {(host, message.id): message.token for host, dump in dumps.items() for message in dump.messages}
    ids = {token: id for (host, id), token in tokens.items() if host_of(token) == host}
    whole = history_of((event for event in events if event.type not in _OWN_EVENTS), BusDump((), (), ()))
    effects = [(tokens.get((host, id), ""), process) for host, dump in dumps.items() for id, process in dump.effects]
    histories = {}
    for host, dump in dumps.items():
        own = {message.id for message in dump.messages if host_of(message.token) == host}
        histories[host] = History(
            BusDump(
                tuple(message for message in dump.messages if message.id in own),
                tuple(delivery for delivery in dump.deliveries if delivery.message in own),
                tuple((ids[token], process) for token, process in effects if host_of(token) == host),
            ),
            whole.processes,
            [sending for sending in whole.sendings if host_of(sending.process) == host],
            [replace(one, id=ids.get(one.token, 0)) for one in whole.receptions if host_of(one.token) == host],
            [
                replace(ack, id=ids.get(token, 0))
                for ack in whole.acks
                if host_of(token := tokens.get((host_of(ack.process), ack.id), "")) == host
            ],
            [failure for failure in whole.failures if failure.startswith(f"{host}-")],
        )
    return histories


def _of_address(history: History, address: str) -> History:
    """Return what a history has of one recipient, since a message may have an effect at each."""
    processes = {name: one for name, one in history.processes.items() if one.address in ("", address)}
    return History(
        history.dump._replace(
            deliveries=tuple(one for one in history.dump.deliveries if one.recipient == address),
            effects=tuple(row for row in history.dump.effects if row[1] in processes),
        ),
        processes,
        history.sendings,
        [one for one in history.receptions if one.address == address],
        [one for one in history.acks if one.address == address],
    )
