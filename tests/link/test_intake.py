"""Intake: a bound holds for the inflated bytes of all envelopes that wait for the store thread."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections import Counter

import pytest

from raven.link.envelope import ZIP
from raven.link.relay import intake
from raven.link.relay.intake import Intake
from raven.link.relay.work import Arrival
from scripts.harness.deadline import DEADLINE_S
from scripts.harness.nats_server import NATSServer
from tests.link.conftest import nats_binary
from tests.nats_hosts import Hosts, remains, run


@pytest.fixture
def binary() -> str:
    """Return the path of the newest nats-server."""
    return nats_binary("newest")


def test_small_messages_that_inflate_to_large_ones_never_stand_in_memory_together(
    nats: NATSServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "_MAX_WAITING", 1 << 20)
    text = json.dumps({"e": 1, "k": 1, "f": ["x" * (300 << 10)]}).encode()
    count = 20

    async def story(hosts: Hosts) -> None:
        alpha, beta = await hosts.connect("alpha", nats.url), await hosts.connect("beta", nats.url)
        held: list[Arrival] = []
        most, given, woken = 0, 0, asyncio.Event()

        def give(sender: str, arrival: Arrival) -> None:
            nonlocal most, given
            assert (sender, arrival.size, len(arrival.parcels)) == ("beta", len(text), 1)
            held.append(arrival)
            given += 1
            most = max(most, sum(one.size for one in held))

        for _ in range(count):
            await (await beta.publish("alpha", zlib.compress(text), {ZIP: "1"}))
            await (await beta.publish("alpha", b"no envelope"))
        taking = Intake(await hosts.pull(alpha), "alpha", give, woken.set)
        task = asyncio.ensure_future(taking.run())
        async with asyncio.timeout(DEADLINE_S):
            while given < count:
                await woken.wait()
                woken.clear()
                done, held[:] = held[:2], held[2:]
                await taking.ack(done)
            await taking.ack(held)
            await remains(alpha, 0)  # the useless messages are acked, too
        task.cancel()

        assert 1 << 20 < most <= (1 << 20) + len(text)
        assert taking.dropped == Counter({"not JSON": count})

    run(story)
