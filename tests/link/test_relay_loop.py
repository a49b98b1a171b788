"""A relay in the loop of the test: when it writes its status, and what it does about a page of a card that it lacks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raven.exchange.values import Home
from raven.link import cards
from raven.link.envelope import ROOM
from raven.link.relay import relay
from raven.link.relay.relay import Relay
from raven.link.settings import LinkSettings
from scripts.harness.deadline import DEADLINE_S
from scripts.harness.nats_server import NATSServer
from tests.link.conftest import nats_binary
from tests.nats_hosts import Hosts, run


@pytest.fixture
def binary() -> str:
    """Return the path of the newest nats-server."""
    return nats_binary("newest")


def card(count: int) -> dict[str, bytes]:
    home = {f"worker-{i}:s1": Home(0, 1, 0, True) for i in range(count)}
    return cards.write("beta", "theirs", home, {}, ROOM + 2000).pages


async def shows(db: Path, is_so: Callable[[Any], bool]) -> None:
    """Wait until the status of a relay tells something of beta."""
    path = db.parent / "bus.db-bells" / "link.json"
    async with asyncio.timeout(DEADLINE_S):
        while not (path.exists() and is_so(json.loads(path.read_text())["hosts"].get("beta", {}))):
            await asyncio.sleep(0.02)


async def knows(alpha: Relay, addresses: int) -> None:
    """Wait until a relay knows so many addresses of beta."""
    async with asyncio.timeout(DEADLINE_S):
        while (await alpha._describe())["hosts"]["beta"]["addresses"] != addresses:
            await asyncio.sleep(0.02)


def test_a_living_host_is_shown_at_once_and_a_page_of_its_card_that_is_missing_is_read_again(
    nats: NATSServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "_STATUS_S", 2 * DEADLINE_S)
    monkeypatch.setattr(relay, "_PAGES_S", 0.1)
    db = tmp_path / "bus.db"

    async def story(hosts: Hosts) -> None:
        beta = await hosts.connect("beta", nats.url)
        ready = asyncio.Event()
        alpha = Relay(str(db), LinkSettings("alpha", (nats.url,), realm="lab"), on_ready=lambda url: ready.set())
        running = asyncio.ensure_future(alpha.run())
        async with asyncio.timeout(DEADLINE_S):
            await ready.wait()
        await shows(db, lambda beta: not beta)

        long, short = card(200), card(1)
        assert (len(long) > 2, len(short)) == (True, 1)
        for key, data in [*long.items(), *short.items()]:
            await beta.put_card(key, data)
        await shows(db, lambda beta: beta.get("is_alive") is True)  # long before the next time
        await knows(alpha, 1)

        # The pages are in the bucket, but alpha has let them go with the short card.
        await beta.put_card("beta", long["beta"])
        await knows(alpha, 200)
        alpha.stop()
        await running

    run(story)
