"""Access: by whom a server lets a host connect, what it then may do, and what a host that is refused tells its user."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from raven import ConfigError, ForbiddenError
from raven.errors import RavenError
from raven.link.jetstream.objects import Names
from raven.link.jetstream.setup import permissions, setup_commands
from raven.link.server import Server
from raven.link.settings import LinkSettings
from scripts.harness.nats_server import NATSServer
from tests.nats_credentials import Certificates, Operator, new_key
from tests.nats_hosts import Hosts, run, take
from tests.support import needs

HOSTS = ("alpha", "beta")


async def works(alpha: Server, beta: Server, hosts: Hosts) -> None:
    """Exchange all that two relays exchange."""
    heard: asyncio.Queue[Any] = asyncio.Queue()
    await beta.subscribe_signs(lambda sender, data: heard.put_nowait(data))
    await beta.subscribe_cards(lambda key, data: heard.put_nowait(data))
    await alpha.sign("beta", b"sign")
    assert await heard.get() == b"sign"
    for key in ("alpha", "alpha.1"):
        await alpha.put_card(key, b"card")
        assert await heard.get() == b"card"
    assert await alpha.clock_offset()
    assert set(await beta.read_cards()) == {"alpha", "alpha.1"}
    await (await alpha.publish("beta", b"mail"))
    pull = await hosts.pull(beta)
    assert [parcel.data for parcel in await take(pull, 1)] == [b"mail"]
    async with asyncio.timeout(20):
        while (await beta.info()).messages:
            await asyncio.sleep(0.01)


def permitted(names: Names, user: str) -> str:
    publish, subscribe = permissions(names)
    return (
        f"{{ {user}, permissions: {{ publish: {{ allow: {json.dumps(publish)} }}, "
        f"subscribe: {{ allow: {json.dumps(subscribe)} }} }} }}"
    )


def start(folder: Path, binary: str, config: str) -> NATSServer:
    return NATSServer(folder / "nats", binary, config)


@pytest.fixture
def guarded(tmp_path: Path, binary: str) -> Any:
    """Start a server with an administrator, and a user for each host who has the permissions of the setup alone."""
    users = [permitted(Names("lab", host), f'user: "{host}", password: "s3cret"') for host in HOSTS]
    config = f'authorization {{ users: [{{ user: "admin", password: "s3cret" }}, {", ".join(users)}] }}'
    with start(tmp_path, binary, config) as server:
        yield server


def as_user(server: NATSServer, user: str, password: str = "s3cret") -> str:
    return server.url.replace("//", f"//{user}:{password}@")


def test_a_host_with_the_permissions_of_the_setup_can_do_its_work_and_nothing_else(guarded: NATSServer) -> None:
    async def story(hosts: Hosts) -> None:
        with pytest.raises(ForbiddenError, match=r"RAVEN_lab is missing .* this user may not make it: let an admin"):
            await hosts.connect("alpha", as_user(guarded, "alpha"))
        admin = await hosts.connect("admin", as_user(guarded, "admin"))
        for stream in (admin.names.stream, admin.names.card_stream):
            await admin.api.request(f"STREAM.DELETE.{stream}")
        text = setup_commands(LinkSettings("any", (), realm="lab"), HOSTS)
        commands = re.findall(r"^nats request '\$JS\.API\.(\S+)' '(.*)'$", text, re.M)
        for path, request in commands:
            await admin.api.request(path, json.loads(request))
        assert len(commands) == 4
        for host in HOSTS:
            assert all(json.dumps(subjects) in text for subjects in permissions(Names("lab", host)))
        alpha, beta = [await hosts.connect(host, as_user(guarded, host)) for host in HOSTS]
        await works(alpha, beta, hosts)
        await (await beta.publish("alpha", b"x"))
        await beta.put_card("beta", b"x")

        api = "$JS.API"
        for subject in (
            "raven.mail.lab.alpha.beta",
            "raven.sign.lab.beta.gamma",
            "raven.card.lab.beta",
            "raven.card.lab.beta.1",
            "$JS.ACK.RAVEN_lab.beta.1.1.1.1.0",
            "_INBOX.beta.x",
            f"{api}.CONSUMER.MSG.NEXT.RAVEN_lab.beta",
            f"{api}.CONSUMER.INFO.RAVEN_lab.beta",
            f"{api}.CONSUMER.DELETE.RAVEN_lab.beta",
            f"{api}.CONSUMER.CREATE.RAVEN_lab",
            f"{api}.STREAM.MSG.GET.RAVEN_lab",
            f"{api}.DIRECT.GET.RAVEN_lab",
            f"{api}.STREAM.DELETE.RAVEN_lab",
            f"{api}.STREAM.PURGE.RAVEN_lab_hosts",
            f"{api}.STREAM.UPDATE.RAVEN_lab",
        ):
            with pytest.raises(ForbiddenError, match=rf"forbids alpha to send to {re.escape(subject)}: give its user"):
                await (await alpha.connection.call(subject, b"{}", lambda answer: answer))
        for subject in ("raven.mail.>", "raven.sign.lab.beta.*", "_INBOX.>", "_INBOX.beta.>", "$JS.>", ">"):
            with pytest.raises(ForbiddenError, match=rf"forbids alpha to subscribe to {re.escape(subject)}: give its"):
                await alpha.connection.listen(subject, lambda answer: None)
        assert {event.kind for event in hosts.events["alpha"]} == {"connected", "denied"}
        # A rollup by its own key would delete the cards of all others.
        with pytest.raises(RavenError, match="rollup not permitted"):
            await (await alpha.api.publish("raven.card.lab.alpha", b"", {"Nats-Rollup": "all"}))
        assert "beta" in await alpha.read_cards()

    run(story)


def test_a_host_connects_with_the_credentials_of_an_operator(tmp_path: Path, binary: str) -> None:
    operator = Operator()
    names = Names("lab", "alpha")
    everything = tmp_path / "all.creds"
    everything.write_text(operator.creds([">"], [">"]))
    own = tmp_path / "alpha.creds"
    own.write_text(operator.creds(*permissions(names)))

    async def story(hosts: Hosts) -> None:
        beta = await hosts.connect("beta", server.url, creds=str(everything))
        await beta.api.request(
            "CONSUMER.DURABLE.CREATE.RAVEN_lab.alpha",
            {"stream_name": "RAVEN_lab", "config": {"durable_name": "alpha", "ack_policy": "explicit",
             "deliver_policy": "all", "filter_subject": "raven.mail.lab.alpha.*"}},
        )  # fmt: skip
        await works(await hosts.connect("alpha", server.url, creds=str(own)), beta, hosts)
        with pytest.raises(ForbiddenError, match=r"demands a user: set link\.creds, link\.nkey or USER:PASSWORD@"):
            await hosts.connect("gamma", server.url)
        own.write_text(Operator().creds([">"], [">"]))
        with pytest.raises(ForbiddenError, match=r"127\.0\.0\.1:\d+ does not accept link\.creds"):
            await hosts.connect("gamma", server.url, creds=str(own))

    with start(tmp_path, binary, operator.config) as server:
        run(story)


def test_credentials_that_have_expired_are_read_again_and_meanwhile_the_host_says_so(
    tmp_path: Path, binary: str
) -> None:
    operator = Operator()
    file = tmp_path / "alpha.creds"
    file.write_text(operator.creds([">"], [">"], expires_s=3))

    async def story(hosts: Hosts) -> None:
        alpha = await hosts.connect("alpha", server.url, creds=str(file))
        assert "expired" in (await hosts.event("alpha", "disconnected")).text
        assert "does not accept link.creds (User Authentication Expired)" in (await hosts.event("alpha", "failed")).text
        file.write_text(operator.creds([">"], [">"]))
        await hosts.event("alpha", "connected", 2)
        await (await alpha.publish("beta", b"mail"))

    with start(tmp_path, binary, operator.config) as server:
        run(story)


def test_a_host_connects_by_its_key_by_a_token_and_by_tls(tmp_path: Path, binary: str) -> None:
    needs("openssl")
    key = new_key()
    seed = tmp_path / "alpha.nk"
    seed.write_text(f"{key.seed}\n")
    certificates = Certificates(tmp_path / "certificates")
    (server_file, server_key), (host_file, host_key) = certificates.make("server"), certificates.make("host")
    strange_file, strange_key = Certificates(tmp_path / "other").make("strange")
    tls = f'tls {{ cert_file: "{server_file}", key_file: "{server_key}", ca_file: "{certificates.ca}", verify: true }}'
    files = {"tls_ca": str(certificates.ca), "tls_cert": str(host_file), "tls_key": str(host_key)}

    async def story(hosts: Hosts) -> None:
        url = server.url.replace("nats:", "tls:")
        alpha = await hosts.connect("alpha", url, nkey=str(seed), **files)
        await works(alpha, await hosts.connect("beta", as_user(server, "beta"), **files), hosts)
        for settings, kind, words in [
            (
                {"nkey": str(seed)},
                ForbiddenError,
                "no TLS with tls://127.0.0.1:.*unable to get local issuer certificate; check link.tls_ca",
            ),
            (
                {**files, "tls_cert": str(strange_file), "tls_key": str(strange_key)},
                RavenError,
                "check link.tls_ca, tls_cert and tls_key",
            ),
            ({**files, "tls_key": str(strange_key)}, ConfigError, "is no certificate or key"),
            ({"tls_ca": str(host_key)}, ConfigError, "is no certificate or key"),
            (files, ForbiddenError, "demands a user"),
        ]:
            with pytest.raises(kind, match=words):
                await hosts.connect("gamma", url, **settings)

    users = f'authorization {{ users: [{{ nkey: "{key.public}" }}, {{ user: "beta", password: "s3cret" }}] }}'
    with start(tmp_path, binary, f"{users}\n{tls}") as server:
        run(story)

    async def by_token(hosts: Hosts) -> None:
        await hosts.connect("alpha", server.url.replace("//", "//t%40ken@"))
        with pytest.raises(ForbiddenError, match=r"does not accept the user in link\.url"):
            await hosts.connect("alpha", server.url.replace("//", "//wrong@"))
        # The password would be sent in the clear.
        with pytest.raises(ForbiddenError, match="offers no TLS, so nothing was sent"):
            await hosts.connect("alpha", server.url.replace("nats://", "tls://t%40ken@"))

    with NATSServer(tmp_path / "token", binary, 'authorization { token: "t@ken" }') as server:
        run(by_token)


@pytest.mark.parametrize(
    ("key", "content", "words"),
    [
        ("creds", b"", r"link\.creds '.* holds no user JWT with its seed: use a \.creds file"),
        ("creds", b"-----BEGIN USER NKEY SEED-----\nSU\n", "holds no user JWT with its seed"),
        ("creds", b"\xff", r"link\.creds '.* cannot be read: not a text"),
        ("creds", None, r"link\.creds '.* cannot be read: No such file or directory"),
        ("nkey", b"UABC\n", r"link\.nkey '.* holds no seed of a user: a line that begins with SU"),
    ],
)
def test_a_bad_file_of_credentials_is_told_with_its_path(
    nats: NATSServer, tmp_path: Path, key: str, content: bytes | None, words: str
) -> None:
    file = tmp_path / "k"
    if content is not None:
        file.write_bytes(content)

    async def story(hosts: Hosts) -> None:
        with pytest.raises(ConfigError, match=words):
            await hosts.connect("alpha", nats.url, **{key: str(file)})

    run(story)
