"""Rest: the agreement of the files of hosts that have come to rest, read by plain SQLite."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from scripts.stress.exchange.hosts import Host

_GIVEN = """
SELECT h.host, ? || '/' || m.id || '/' || m.created_at,
       d.recipient, d.state, d.attempts, iif(d.state = 3, NULL, d.reason)
  FROM deliveries AS d
  JOIN link_hosts AS h ON h.lease = d.lease
  JOIN messages AS m ON m.id = d.id >> 20
 WHERE d.frame > 0
"""
_TAKEN = """
SELECT i.origin, d.recipient, d.state, d.attempts, iif(d.state = 3, NULL, d.reason)
  FROM link_in AS i
  JOIN deliveries AS d ON d.id >= i.message_id << 20 AND d.id < (i.message_id + 1) << 20
"""
_ORPHANS = """
SELECT origin FROM link_in WHERE message_id NOT IN (SELECT id FROM messages)
 UNION ALL
SELECT 'delivery ' || id FROM deliveries WHERE id >> 20 NOT IN (SELECT id FROM messages)
"""
_FINISHED = (2, 3)


def differences(hosts: Iterable[Host], *, was_restored: bool) -> Iterator[str]:
    """Yield each delivery that two hosts show differently, and rows that belong to no message.

    After an older copy of its file a host may do again what the other knows to be finished.
    """
    hosts = list(hosts)
    taken = {host.name: {(origin, recipient): rest for origin, recipient, *rest in host.sql(_TAKEN)} for host in hosts}
    for host in hosts:
        for other, origin, recipient, *mine in host.sql(_GIVEN, host.name):
            theirs = taken[other].get((origin, recipient), mine)
            if theirs != mine and not (was_restored and mine[0] in _FINISHED):
                yield f"{host.name} shows {origin} to {recipient} as {mine}, and {other} has {theirs}"
        for orphan in host.sql(_ORPHANS):
            yield f"{host.name} keeps {orphan[0]} without a message"
        for state in host.exchange.hosts().values():
            if state.sent != state.confirmed:
                yield f"{host.name} waits for the frames {state.confirmed + 1} to {state.sent} for {state.host}"
