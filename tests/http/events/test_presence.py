"""The events that are no part of the bus's history: how the server serves, and its peers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from raven.client import BusClient
from raven_http.events import viewer
from tests.event_stream import EventStream

Open = Callable[..., EventStream]


def test_a_viewer_that_asks_for_it_hears_how_the_server_serves_first_and_in_silence(
    open_stream: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(viewer, "HEARTBEAT_S", 2.0)
    stream = open_stream("?kinds=message,server", bound=["ann:s"], read_only=True)

    told = stream.take(3)

    assert [one[:2] for one in told] == 3 * [("server", {"read_only": True, "as": ["ann:s"]})]
    assert stream.comments == []


def test_peers_come_before_the_messages_of_the_past(open_stream: Open, connect: Callable[..., BusClient]) -> None:
    connect("boss:s").send_many([{"to": "worker:s", "type": "job"} for _ in range(1000)])
    open_stream("?kinds=peer").take(2)  # now the server knows them

    names = [one.name for one in open_stream("?last=1000").take(1002)]

    assert sorted(names[:2]) == ["peer", "peer"]
