"""Server: mail, signs and cards over real NATS servers, and what happens when the server or its objects go away."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

import pytest

from raven import LostError, UnreachableError
from raven.link.jetstream.client import Client
from raven.link.server import Server
from raven.model import clock
from scripts.harness.deadline import DEADLINE_S, Limit
from scripts.harness.nats_server import NATSServer
from tests.nats_hosts import Hosts, remains, run, take


async def two_hosts(hosts: Hosts, nats: NATSServer) -> tuple[Server, Server]:
    return await hosts.connect("alpha", nats.url), await hosts.connect("beta", nats.url)


async def publish_in_the_end(server: Server, data: bytes) -> None:
    """Publish mail for beta; while no stream takes it, again."""
    async with asyncio.timeout(2 * DEADLINE_S):
        while True:
            future = await server.publish("beta", data)
            await asyncio.wait({future})
            if future.exception() is None:
                return
            with pytest.raises(UnreachableError, match="RAVEN_lab is missing, or its cluster elects a leader"):
                await future
            await asyncio.sleep(0.05)


def test_mail_comes_to_its_host_alone_in_order_and_is_gone_when_it_is_acked(nats: NATSServer) -> None:
    async def story(hosts: Hosts) -> None:
        alpha, beta = await two_hosts(hosts, nats)
        gamma = await hosts.connect("gamma", nats.url)
        futures = [await alpha.publish("beta", b"%d" % n, {"Raven-Zip": "1"}) for n in range(200)]
        await asyncio.gather(*futures)
        await gamma.publish("beta", b"hello")
        parcels = await take(await hosts.pull(beta), 201)

        assert [parcel.data for parcel in parcels if parcel.sender == "alpha"] == [b"%d" % n for n in range(200)]
        assert parcels[0].headers == {"Raven-Zip": "1"}
        assert parcels[0].deliveries == 1
        assert [(await future).number for future in futures] == list(range(1, 201))
        assert [parcel.data for parcel in parcels if parcel.sender == "gamma"] == [b"hello"]
        await (await alpha.publish("gamma", b"x"))
        await remains(beta, 1)
        info = await beta.info()
        assert (info.replicas, info.max_payload, info.max_bytes) == (1, 1 << 20, 1 << 30)

    run(story)


def test_signs_and_cards_are_heard_and_a_card_is_kept(nats: NATSServer) -> None:
    async def story(hosts: Hosts) -> None:
        alpha, beta = await two_hosts(hosts, nats)
        heard: asyncio.Queue[Any] = asyncio.Queue()
        await beta.subscribe_signs(lambda sender, data: heard.put_nowait((sender, data)))
        await beta.subscribe_cards(lambda key, data: heard.put_nowait((key, data)))
        assert await alpha.clock_offset() is None
        assert await alpha.sign("beta", b"sign")
        assert await heard.get() == ("alpha", b"sign")
        for key, data in [("alpha", b"old"), ("alpha.1", b"\0\xff" * 1000), ("alpha", b"new")]:
            await alpha.put_card(key, data)
            assert await heard.get() == (key, data)
        offset = await alpha.clock_offset()
        cards = await beta.read_cards()

        assert offset
        assert abs(offset.offset) <= offset.error + 2  # both have the clock of this machine
        assert {key: card.data for key, card in cards.items()} == {"alpha": b"new", "alpha.1": b"\0\xff" * 1000}
        assert all(abs(card.stored_at - clock.now()) < 60_000_000 for card in cards.values())

    run(story)


def test_a_killed_server_is_told_at_once_and_connected_again_with_all_mail(nats: NATSServer) -> None:
    async def story(hosts: Hosts) -> None:
        alpha, beta = await two_hosts(hosts, nats)
        pull = await hosts.pull(beta)
        heard: asyncio.Queue[bytes] = asyncio.Queue()
        await beta.subscribe_signs(lambda sender, data: heard.put_nowait(data))
        await (await alpha.publish("beta", b"1"))
        await take(pull, 1)
        await (await alpha.publish("gamma", b"kept"))
        await remains(alpha, 1)
        nats.kill()
        lost = await hosts.event("alpha", "disconnected")
        began_at = time.monotonic()
        with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:\d+ is not ready: the link connects again"):
            await alpha.publish("beta", b"never")
        assert not await alpha.sign("beta", b"never")
        assert time.monotonic() - began_at < Limit(1)
        assert "was lost" in lost.text
        assert "no NATS server at nats://127.0.0.1" in (await hosts.event("alpha", "failed")).text

        nats.start()
        await hosts.event("alpha", "connected", 2)
        await hosts.event("beta", "connected", 2)
        await (await alpha.publish("beta", b"2"))
        assert [parcel.data for parcel in await take(pull, 1)] == [b"2"]
        assert await alpha.sign("beta", b"again")
        assert await heard.get() == b"again"
        gamma = await hosts.connect("gamma", nats.url)
        assert [parcel.data for parcel in await take(await hosts.pull(gamma), 1)] == [b"kept"]

    run(story)


def test_mail_whose_answer_does_not_come_may_be_stored_or_not(
    nats: NATSServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(hosts: Hosts) -> None:
        alpha = await hosts.connect("alpha", nats.url)
        monkeypatch.setattr("raven.link.jetstream.api.TIMEOUT_S", 0.3)
        nats.pause()
        future = await alpha.publish("beta", b"1")
        with pytest.raises(LostError, match=r"did not answer raven\.mail\.lab\.beta\.alpha within 0\.3 s"):
            await future
        pending = await alpha.publish("beta", b"2")
        nats.kill()
        with pytest.raises(LostError, match="was lost"):
            await pending

    run(story)


@pytest.mark.parametrize("gone", ["stream", "consumer", "cards", "all"])
def test_what_is_deleted_while_mail_is_pulled_is_made_again(nats: NATSServer, gone: str) -> None:
    async def story(hosts: Hosts) -> None:
        alpha, beta = await two_hosts(hosts, nats)
        pull = await hosts.pull(beta)
        await (await alpha.publish("beta", b"1"))
        await take(pull, 1)
        await remains(beta, 0)
        names = beta.names
        if gone == "consumer":
            await beta.api.request(f"CONSUMER.DELETE.{names.stream}.beta")
        if gone in ("stream", "all"):
            await beta.api.request(f"STREAM.DELETE.{names.stream}")
        if gone in ("cards", "all"):
            await beta.api.request(f"STREAM.DELETE.{names.card_stream}")
            async with asyncio.timeout(DEADLINE_S):
                while any(
                    names.card_stream in folders for _, folders, _ in os.walk(nats.store)
                ):  # a stream made meanwhile may store nothing
                    await asyncio.sleep(0.05)
            await alpha.ensure()
        await publish_in_the_end(alpha, b"2")
        assert [parcel.data for parcel in await take(pull, 1)] == [b"2"]
        await alpha.put_card("alpha", b"card")
        assert set(await beta.read_cards()) == {"alpha"}

    run(story)


def test_a_store_that_is_older_than_it_was_is_used_as_it_is(nats: NATSServer) -> None:
    async def story(hosts: Hosts) -> None:
        alpha = await hosts.connect("alpha", nats.url)
        copy = nats.copy_store()  # before beta, so that its consumer is missing later
        beta = await hosts.connect("beta", nats.url)
        pull = await hosts.pull(beta)
        await (await alpha.publish("beta", b"1"))
        await take(pull, 1)
        nats.kill()
        await hosts.event("alpha", "disconnected")
        await hosts.event("beta", "disconnected")
        nats.roll_back(copy)
        nats.start()
        await hosts.event("beta", "connected", 2)
        await hosts.event("alpha", "connected", 2)

        assert (await (await alpha.publish("beta", b"2"))).number == 1
        assert [parcel.data for parcel in await take(pull, 1)] == [b"2"]

    run(story)


@pytest.mark.slow
def test_a_server_that_answers_nothing_more_is_left_and_found_again(nats: NATSServer) -> None:
    async def story(hosts: Hosts) -> None:
        alpha, beta = await two_hosts(hosts, nats)
        pull = await hosts.pull(beta)
        nats.pause()
        began_at = time.monotonic()
        # More than the buffers of both ends hold: the end of the connection must not wait for them.
        futures = [await alpha.publish("beta", bytes(1_000_000)) for _ in range(40)]
        results = await asyncio.gather(*futures, return_exceptions=True)
        assert {type(result) for result in results} == {LostError}
        await hosts.event("alpha", "disconnected")
        await hosts.event("beta", "disconnected")
        assert time.monotonic() - began_at < 25
        nats.resume()
        await hosts.event("alpha", "connected", 2)
        await hosts.event("beta", "connected", 2)
        await (await alpha.publish("beta", b"last"))
        async with asyncio.timeout(DEADLINE_S):
            while [parcel.data for parcel in await take(pull, 1)][-1] != b"last":
                pass

    run(story)


@pytest.mark.slow
def test_mail_that_is_not_acked_comes_again(nats: NATSServer) -> None:
    async def story(hosts: Hosts) -> None:
        alpha, beta = await two_hosts(hosts, nats)
        pull = await hosts.pull(beta)
        await (await alpha.publish("beta", b"1"))
        first = await anext(pull)
        await (await alpha.publish("beta", b"2"))
        assert [parcel.data for parcel in await take(pull, 1)] == [b"2"]
        again = await take(pull, 1, within_s=4 * DEADLINE_S)  # it comes after 10 s, on a busy machine much later
        assert [parcel.data for parcel in again] == [b"1"]
        assert first[0].deliveries == 1
        assert again[0].deliveries > 1  # a server counts a delivery to a request that has just ended
        await remains(beta, 0)

    run(story)


def test_a_listener_that_fails_is_reported_and_called_again(nats: NATSServer) -> None:
    async def story(hosts: Hosts) -> None:
        alpha, beta = await two_hosts(hosts, nats)
        reported: asyncio.Queue[Any] = asyncio.Queue()
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.put_nowait(context))

        def fail(sender: str, data: bytes) -> None:
            raise ZeroDivisionError(data)

        await beta.subscribe_signs(fail)
        for data in (b"1", b"2"):
            await alpha.sign("beta", data)
            async with asyncio.timeout(DEADLINE_S):
                assert repr((await reported.get())["exception"]) == repr(ZeroDivisionError(data))

    run(story)


def test_a_flush_that_is_cancelled_ends_no_connection(nats: NATSServer, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        lost: list[Exception | None] = []
        client = Client(False, lost.append)
        await client.connect([nats.url])
        flush = asyncio.create_task(client.settle(5))
        await asyncio.sleep(0)  # its ping is on the way
        flush.cancel()
        await asyncio.wait({flush})
        await client.settle(5)
        await client.discard()
        assert not lost

    asyncio.run(story())
    assert not caplog.records


def test_what_is_sent_while_the_connection_breaks_is_not_sent_and_raises_nothing_else(nats: NATSServer) -> None:
    async def story(hosts: Hosts) -> None:
        server = await hosts.connect("alpha", nats.url)
        told = []
        # The writer of nats-py finds the loss some turns of the loop after the write, and the reader some others.
        for turns in range(6):
            nats.pause()
            await server.sign("beta", b"unread, so that the end of the server resets the connection")
            await asyncio.sleep(0.05)
            nats.kill()
            await server.sign("beta", b"written, and refused")
            for _ in range(turns):
                await asyncio.sleep(0)
            told.append(await server.sign("beta", b"while it breaks"))
            nats.start()
            await hosts.event("alpha", "connected", turns + 2)
        assert told[0]
        assert not told[-1]

    run(story)
