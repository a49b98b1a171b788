"""The same steps on two buses: one that is used directly, one through a helper."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from raven import BusClient, Message, Peer, Receipt
from raven_rpc import Client

Open = Callable[[str], Any]
A_TIME = datetime(2000, 1, 1, tzinfo=UTC)


@contextmanager
def both_ways(direct_db: str, socket_path: str) -> Iterator[list[Open]]:
    """Yield two ways to make clients by address: of one bus directly, of another through a helper."""
    opened = []

    def keep(client: Any) -> Any:
        opened.append(client)
        return client

    yield [lambda who: keep(BusClient.at(who, direct_db)), lambda who: keep(Client(socket_path, who))]
    for client in opened:
        client.close()


def same(ways: list[Open], steps: Callable[[Open], Any]) -> Any:
    """Take the steps both ways, see that they come to the same, and return that."""
    direct, remote = (steps(way) for way in ways)
    assert timeless(remote) == timeless(direct)
    assert told_of_sends(remote) == told_of_sends(direct)
    return timeless(remote)


def timeless(value: Any) -> Any:
    """Return a value with every time and every lease, which differ, as one and the same."""
    if isinstance(value, Message):
        names = ("created_at", "delivered_at", "acked_at", "expires_at", "finished_at")
        times = {name: timeless(getattr(value, name)) for name in names}
        return replace(value, **times, lease=None if value.lease is None else 1)
    if isinstance(value, Peer | Receipt):
        return value._replace(**{name: timeless(held) for name, held in value._asdict().items()})
    if isinstance(value, datetime):
        assert value.tzinfo is UTC
        return A_TIME
    return [timeless(item) for item in value] if isinstance(value, list | tuple) else value


def told_of_sends(value: Any) -> list[Any]:
    """Return what messages say of their sending, which does not count when they are compared."""
    if isinstance(value, Message):
        return [(value.waiting, value.duplicate)]
    return [told for item in value for told in told_of_sends(item)] if isinstance(value, list | tuple) else []
