"""Clusters and leaf nodes: the link goes on while servers die, and reaches a JetStream in another domain."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from raven import LostError, UnreachableError
from raven.errors import RavenError
from raven.link.server import Server
from scripts.harness.deadline import DEADLINE_S
from scripts.harness.nats_server import NATSCluster, NATSServer, free_port
from tests.nats_hosts import Hosts, remains, run, take


async def connect_in_the_end(hosts: Hosts, name: str, *urls: str, **settings: Any) -> Server:
    """Connect to a cluster that may still elect its leader."""
    async with asyncio.timeout(2 * DEADLINE_S):
        while True:
            try:
                return await hosts.connect(name, *urls, **settings)
            except (UnreachableError, LostError):
                await asyncio.sleep(0.1)


@pytest.mark.slow
def test_the_leader_of_a_cluster_may_be_killed_in_the_midst_of_the_mail(tmp_path: Path, binary: str) -> None:
    async def story(hosts: Hosts) -> None:
        alpha = await connect_in_the_end(hosts, "alpha", cluster.urls[0])  # it learns of the others
        beta = await connect_in_the_end(hosts, "beta", *cluster.urls)
        pull = await hosts.pull(beta)
        info = await alpha.info()
        assert (info.replicas, info.cluster) == (3, "raven")
        assert info.leader
        came: set[bytes] = set()

        async def take_all() -> None:
            async for parcels in pull:
                came.update(parcel.data for parcel in parcels)
                await pull.ack(parcels)

        taking = asyncio.create_task(take_all())
        attempts = 0
        began_at = time.monotonic()
        for number in range(300):
            if number == 100:
                cluster.named(info.leader).kill()
            while True:
                attempts += 1
                try:
                    await (await alpha.publish("beta", b"%d" % number))
                    break
                except (UnreachableError, LostError):
                    assert time.monotonic() - began_at < 2 * DEADLINE_S
                    await asyncio.sleep(0.1)
        async with asyncio.timeout(2 * DEADLINE_S):
            while len(came) < 300:
                await asyncio.sleep(0.05)
        assert attempts > 300
        # While no leader is there, requests are answered at once: they must not become a storm.
        assert pull.requests < 20 + 10 * (time.monotonic() - began_at)

        cluster.named(info.leader).start()
        await (await alpha.publish("beta", b"last"))
        async with asyncio.timeout(DEADLINE_S):
            while b"last" not in came:
                await asyncio.sleep(0.05)
        assert await alpha.read_cards() == {}
        taking.cancel()

    with NATSCluster(tmp_path, binary) as cluster:
        run(story)


def test_a_cluster_with_too_few_servers_is_told(tmp_path: Path, binary: str) -> None:
    async def story(hosts: Hosts) -> None:
        async with asyncio.timeout(2 * DEADLINE_S):
            while True:
                with pytest.raises((UnreachableError, LostError)) as caught:
                    await hosts.connect("alpha", *cluster.urls)
                if "cannot place" in str(caught.value):
                    break
                await asyncio.sleep(0.1)
        assert "start more servers of the cluster, or set link.replicas to 1" in str(caught.value)
        alpha = await connect_in_the_end(hosts, "alpha", *cluster.urls, replicas=1)
        assert (await alpha.info()).replicas == 1

    with NATSCluster(tmp_path, binary, size=2) as cluster:
        run(story)


@pytest.mark.parametrize("leaf_has_jetstream", [False, True])
def test_a_host_at_a_leaf_node_uses_the_jetstream_of_the_hub(
    tmp_path: Path, binary: str, leaf_has_jetstream: bool
) -> None:
    port = free_port()

    async def story(hosts: Hosts) -> None:
        with pytest.raises(RavenError, match=r"no JetStream answers at .*link\.js_domain|did not answer"):
            await hosts.connect("alpha", leaf.url, js_domain="other")
        alpha = await connect_in_the_end(hosts, "alpha", leaf.url, js_domain="hub")
        beta = await hosts.connect("beta", hub.url)
        gamma = await connect_in_the_end(hosts, "gamma", leaf.url, js_domain="hub")
        assert (await alpha.info()).domain == "hub"
        heard: asyncio.Queue[Any] = asyncio.Queue()
        for host in (beta, gamma):
            await host.subscribe_cards(lambda key, data: heard.put_nowait((key, data)))
        signed = asyncio.Event()
        await gamma.subscribe_signs(lambda sender, data: signed.set())
        while not signed.is_set():  # a sign may be lost until the hub knows of the subscription
            await beta.sign("gamma", b"sign")
            await asyncio.sleep(0.05)
        for sender, hearers in ((alpha, 2), (beta, 2)):
            await sender.put_card(sender.names.host, b"card")
            for _ in range(hearers):
                assert await heard.get() == (sender.names.host, b"card")
        assert set(await gamma.read_cards()) == {"alpha", "beta"}
        assert await alpha.clock_offset()
        for sender, to in ((alpha, beta), (beta, alpha), (alpha, gamma)):
            await (await sender.publish(to.names.host, b"mail"))
            pull = await hosts.pull(to)
            assert [parcel.data for parcel in await take(pull, 1)] == [b"mail"]
            await pull.close()
        await remains(beta, 0)

    domain = 'jetstream {{ store_dir: "{}", domain: {} }}'
    hub_config = f'{domain.format(tmp_path / "h", "hub")}\nleafnodes {{ listen: "127.0.0.1:{port}" }}'
    leaf_config = f'leafnodes {{ remotes: [{{ url: "nats://127.0.0.1:{port}" }}] }}\n'
    if leaf_has_jetstream:
        leaf_config += domain.format(tmp_path / "l", "leaf")
    with (
        NATSServer(tmp_path / "hub", binary, hub_config, jetstream=False) as hub,
        NATSServer(tmp_path / "leaf", binary, leaf_config, name="leaf", jetstream=False) as leaf,
    ):
        run(story)
