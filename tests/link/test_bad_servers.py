"""Servers with which the link cannot work: each is told in one line, with the server and a remedy."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from raven import ConfigError, ForbiddenError, LimitError, ServerError, UnreachableError
from scripts.harness.nats_server import NATSServer, free_port
from tests.link.conftest import nats_binary
from tests.nats_hosts import Hosts, run

_ACCOUNT = 'accounts { A { users: [{ user: "alpha", password: "s3cret" }] } }'


async def fails(hosts: Hosts, url: str, kind: type[Exception], words: str, **settings: Any) -> None:
    with pytest.raises(kind, match=words) as caught:
        await hosts.connect("alpha", url, **settings)
    assert "\n" not in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "kind", "words"),
    [
        (
            None,
            UnreachableError,
            r"no NATS server at nats://127\.0\.0\.1:\d+: .*; check link\.url, and that the server runs",
        ),
        (b"", UnreachableError, "no NATS server at .*: no answer in time"),
        (b"close", ServerError, "does not speak NATS: check the port in link.url"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", ServerError, "does not speak NATS"),
        (b"INFO {\r\n", ServerError, "does not speak NATS"),
        (b"INFO " + b"x" * 70_000, ServerError, "does not speak NATS"),
        (
            b"INFO {}\r\n-ERR 'maximum connections exceeded'\r\n",
            ServerError,
            "did not take the connection: maximum conn",
        ),
    ],
)
def test_a_program_that_is_no_server_of_nats(
    said: bytes | None, kind: type[Exception], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raven.link.jetstream.connection._CONNECT_S", 0.5)

    async def story(hosts: Hosts) -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if said and said != b"close":
                writer.write(said)
            await asyncio.wait({asyncio.ensure_future(reader.read())}, timeout=0 if said == b"close" else 5)
            writer.close()

        if said is None:
            await fails(hosts, f"nats://alpha:s3cret@127.0.0.1:{free_port()}", kind, words)
            return
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as program:
            port = program.sockets[0].getsockname()[1]
            await fails(hosts, f"nats://alpha:s3cret@127.0.0.1:{port}", kind, words)

    run(story)


def test_a_server_that_takes_other_users_only_or_has_no_jetstream(tmp_path: Path, binary: str) -> None:
    async def without_jetstream(hosts: Hosts) -> None:
        await fails(
            hosts, plain.url, UnreachableError, r"no JetStream answers at .*: start the server .*\(nats-server -js\)"
        )

    with NATSServer(tmp_path / "plain", binary, jetstream=False) as plain:
        run(without_jetstream)

    async def without_account(hosts: Hosts) -> None:
        url = other.url.replace("//", "//alpha:s3cret@")
        await fails(hosts, url, ServerError, "JetStream is not enabled at .* for this account")
        url = other.url.replace("//", "//alpha:s3cret2@")
        await fails(
            hosts,
            url,
            ForbiddenError,
            r"127\.0\.0\.1:\d+ does not accept the user in link\.url \(Authorization Violation\)$",
        )
        # One that works is found among others; otherwise the most telling error counts.
        dead = f"nats://127.0.0.1:{free_port()}"
        with pytest.raises(ForbiddenError, match="does not accept"):
            await hosts.connect("alpha", dead, url)

    with NATSServer(tmp_path / "other", binary, _ACCOUNT) as other:
        run(without_account)

    async def without_room(hosts: Hosts) -> None:
        await fails(
            hosts, small.url, LimitError, r"has no room for RAVEN_lab .*: set link\.stream_bytes to less, or give"
        )
        await hosts.connect("alpha", small.url, f"nats://127.0.0.1:{free_port()}", stream_bytes=1 << 20)

    with NATSServer(tmp_path / "small", binary, "max_payload: 100000", store_bytes=200 << 20) as small:
        run(without_room)


@pytest.mark.parametrize("size", [1024, 4095, 4096])
def test_a_server_must_take_messages_in_which_an_envelope_has_room(tmp_path: Path, size: int) -> None:
    async def story(hosts: Hosts) -> None:
        if size < 4096:
            words = rf"max_payload of nats://.* is {size} bytes, but the link needs 4096 or more: raise it in the conf"
            await fails(hosts, server.url, ConfigError, words)
        else:
            assert (await hosts.connect("alpha", server.url)).max_payload == size

    with NATSServer(tmp_path / "nats", nats_binary("newest"), f"max_payload: {size}") as server:
        run(story)


STREAM = {"name": "RAVEN_lab", "subjects": ["raven.mail.lab.*.*"], "retention": "workqueue", "discard": "new"}


@pytest.mark.parametrize(
    ("path", "request_", "words"),
    [
        (
            "STREAM.CREATE.RAVEN_lab",
            {**STREAM, "retention": "limits", "discard": "old"},
            "stream RAVEN_lab at .* has other settings: retention is limits, not workqueue; discard is old, not new; ",
        ),
        ("STREAM.CREATE.RAVEN_lab", {**STREAM, "no_ack": True}, "has other settings: no_ack is set; delete"),
        (
            "STREAM.CREATE.RAVEN_lab",
            {**STREAM, "subjects": ["raven.mail.lab.beta.*", "x"]},
            r"subjects is raven\.mail\.lab\.beta\.\* and x, not raven\.mail\.lab\.\*\.\*",
        ),
        (
            "STREAM.CREATE.OTHER",
            {"name": "OTHER", "subjects": ["raven.>"]},
            r"another stream at .* takes the subjects of RAVEN_lab already .*: delete it, or choose another",
        ),
        (
            "STREAM.CREATE.RAVEN_lab",
            {**STREAM, "max_msg_size": 4095},
            "stream RAVEN_lab at .* has other settings: max_msg_size is 4095, not 4096 or more; delete it if",
        ),
        (
            "STREAM.CREATE.RAVEN_lab_hosts",
            {"name": "RAVEN_lab_hosts", "subjects": ["raven.card.lab.>"]},
            "stream RAVEN_lab_hosts at .* has other settings: max_msgs_per_subject is -1, not 1",
        ),
        (
            "CONSUMER.DURABLE.CREATE.RAVEN_lab.other",
            {"durable_name": "other", "ack_policy": "explicit", "filter_subject": "raven.mail.lab.alpha.*"},
            r"another consumer at .* takes the mail of alpha already .*: delete it, or choose another",
        ),
        (
            "CONSUMER.DURABLE.CREATE.RAVEN_lab.alpha",
            {"durable_name": "alpha", "ack_policy": "explicit", "filter_subject": "raven.mail.lab.beta.*",
             "max_deliver": 3, "max_expires": 10**9},
            "consumer alpha of RAVEN_lab at .* has other settings: filter_subject is .*; max_deliver is 3, not -1",
        ),
    ],
)  # fmt: skip
def test_an_object_of_another_program_is_left_as_it_is(
    nats: NATSServer, path: str, request_: dict[str, Any], words: str
) -> None:
    async def story(hosts: Hosts) -> None:
        maker = await hosts.connect("maker", nats.url)
        if path.startswith("CONSUMER"):
            await maker.api.request(path, {"stream_name": "RAVEN_lab", "config": request_})
        else:
            for stream in (maker.names.stream, maker.names.card_stream):
                await maker.api.request(f"STREAM.DELETE.{stream}")
            await maker.api.request(path, request_)
        await fails(hosts, nats.url, ConfigError, words)

    run(story)


def test_mail_that_is_too_large_or_finds_the_stream_full_is_refused(tmp_path: Path, binary: str) -> None:
    async def story(hosts: Hosts) -> None:
        alpha = await hosts.connect("alpha", server.url, stream_bytes=1 << 20)
        assert alpha.max_payload == 400_000
        with pytest.raises(
            LimitError, match=r"400001 bytes for raven\.mail\.lab\.beta\.alpha are over max_payload, 400000"
        ):
            await alpha.publish("beta", bytes(400_001))
        for _ in range(2):
            await (await alpha.publish("beta", bytes(400_000)))
        with pytest.raises(LimitError, match=r"stores nothing more \(maximum bytes exceeded\): give the stream more"):
            await (await alpha.publish("beta", bytes(400_000)))
        await alpha.api.request("STREAM.UPDATE.RAVEN_lab", {**STREAM, "max_bytes": 1 << 20, "max_msg_size": 300_000})
        await alpha.ensure()
        assert alpha.max_payload == 300_000

    with NATSServer(tmp_path / "nats", binary, "max_payload: 400000") as server:
        run(story)
