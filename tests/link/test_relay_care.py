"""What a relay refuses, how the links are seen and cared for, and what becomes of mail when hosts come and go."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from raven import BusClient
from scripts.harness.deadline import wait_until
from scripts.harness.linked import Linked
from scripts.harness.nats_server import NATSServer
from tests.cli.shell import Shell
from tests.link.conftest import nats_binary
from tests.linked_hosts import Realm, take, wait_for_peer
from tests.support import Foreign, Program


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NATSServer]:
    """Start the newest NATS server."""
    with NATSServer(tmp_path / "nats", nats_binary("newest")) as server:
        yield server


def refused(realm: Realm, host: str, name: str) -> tuple[int, str]:
    """Start a relay that must end by itself; return its exit code, and what it has said last."""
    relay = Linked(realm.db(host), realm.url, name, waits=False)
    try:
        return relay.process.wait(20), relay.log().splitlines()[-1]
    finally:
        relay.close()


def test_a_bus_has_one_relay(realm: Realm) -> None:
    first = realm.link("alpha")

    code, said = refused(realm, "alpha", "alpha")

    assert code == 7
    assert said.startswith(f"error: process {first.pid} already runs `raven link` for ")
    assert said.endswith(": stop it first, or see `raven link status`")
    first.kill()
    first.start()


@pytest.mark.parametrize(
    ("copied", "name", "problem"),
    [
        pytest.param(
            False,
            "alpha",
            "another bus is linked as alpha now: choose another link.name for one of the two",
            marks=pytest.mark.slow,
        ),
        (True, "alpha", "another relay links a copy of this bus now: stop the relay there, or remove that copy"),
        pytest.param(
            True,
            "beta",
            "the host alpha links a copy of this bus now: stop the relay there, or remove that copy",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_second_bus_of_one_name_and_a_copy_of_a_bus_are_refused_while_the_first_is_linked(
    realm: Realm, spawn: Callable[..., Program], copied: bool, name: str, problem: str
) -> None:
    first = realm.link("alpha")
    bus, other = realm.bus("alpha", "boss:s1"), realm.db("copy")
    if copied:
        Foreign(spawn("external_writer", bus.db_path)).execute("VACUUM INTO ?", other)
        shutil.copytree(f"{bus.db_path}-bells", f"{other}-bells", ignore=shutil.ignore_patterns("[!l]*"))
    else:
        realm.bus("copy", "boss:s2")

    assert refused(realm, "copy", name) == (2, f"error: {problem}")

    assert not first.has_ended
    first.kill()
    first.start()  # its own last card does not stop it
    first.stop()
    Linked(other, realm.url, name).close()  # the first has told that it is leaving


def test_a_wrong_setting_is_one_line(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    for arguments, problem in (
        (["nats://x:4222", "--name", "A_b"], "--name is 'A_b', but must be 1 to 40 of a-z, 0-9 and -"),
        (["http://x"], "URL is "),
        ([], "no NATS server is named: use `raven link nats://HOST:4222`"),
    ):
        done = shell.run("link", *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("error: ")
        assert problem in done.stderr


def test_the_status_shows_the_links(realm: Realm, alpha: BusClient) -> None:
    worker = realm.worker("beta", "worker:s1")
    wait_for_peer(alpha, "worker:s1")
    message = alpha.send("worker:s1", "task", 1)
    worker.take(1)
    alpha.wait_receipt(message.id, timeout_s=20)
    shell = Shell(Path(alpha.db_path).parent)

    def status() -> Any:
        found = json.loads(shell.ok("link", "status", "--json"))
        return found if found["hosts"] and found["hosts"][0].get("addresses") else None

    told = wait_until(status, "the status tells of beta")

    assert told["is_running"]
    assert (told["name"], told["realm"], told["trouble"]) == ("alpha", "main", {})
    assert told["server"]["url"].endswith(realm.url.removeprefix("nats://"))
    [beta] = told["hosts"]
    assert (beta["host"], beta["is_alive"], beta["sent"], beta["held"], beta["again"]) == ("beta", True, 1, 0, 0)
    lines = shell.ok("link", "status").splitlines()
    assert lines[0].startswith("alpha in main: over nats://127.0.0.1:")
    assert lines[1].split() == [
        "HOST", "ALIVE", "HEARD", "SENT", "UNCONFIRMED", "RECEIVED", "HELD", "OLDEST", "AGAIN", "ADDRESSES"
    ]  # fmt: skip
    assert lines[2].split()[:2] == ["beta", "yes"]


def test_mail_of_a_lost_host_is_ready_again_when_the_host_is_forgotten(realm: Realm) -> None:
    realm.link("alpha")
    beta = realm.link("beta")
    boss, there = realm.bus("alpha", "boss:s1"), realm.bus("beta", "worker:s1")
    wait_for_peer(boss, "worker:s1")
    message = boss.send("worker:s1", "task", 1)
    wait_until(lambda: there.inbox(peek=True), "the message is on beta")
    beta.kill()
    shell = Shell(Path(boss.db_path).parent)

    assert "the bus is not linked to a host 'gamma': its hosts are beta" in shell.run("link", "forget", "gamma").stderr
    assert shell.ok("link", "forget", "beta") == "forgot beta: 1 delivery ready again\n"

    here = realm.bus("alpha", "worker:s1")
    assert [taken.id for taken in take(here)] == [message.id]
    assert boss.wait_receipt(message.id, timeout_s=20)[0].state == "acked"


def test_drained_mail_goes_where_its_address_is_used(realm: Realm, alpha: BusClient) -> None:
    there = realm.bus("beta", "worker:s1")
    wait_for_peer(alpha, "worker:s1")
    messages = [alpha.send("worker:s1", "task", n) for n in range(5)]
    wait_until(lambda: len(there.inbox(peek=True)) == 5, "the messages are on beta")
    realm.link("gamma")
    worker = realm.worker("gamma", "worker:s1")
    time.sleep(1.0)  # alpha knows of gamma's loop

    assert Shell(Path(there.db_path).parent).ok("link", "drain") == "returned 5 deliveries\n"

    assert [taken.body for taken in worker.take(5)] == [0, 1, 2, 3, 4]
    assert [alpha.wait_receipt(message.id, timeout_s=20)[0].state for message in messages] == ["acked"] * 5


def test_mail_follows_an_agent_that_moves_to_another_host(realm: Realm, alpha: BusClient) -> None:
    there = realm.bus("beta", "worker:s1")
    wait_for_peer(alpha, "worker:s1")
    for n in range(20):
        alpha.send("worker:s1", "task", n)
    wait_until(lambda: len(there.inbox(peek=True)) == 20, "the messages are on beta")
    [in_hand] = there.claim(lease_s=60)

    realm.link("gamma")
    worker = realm.worker("gamma", "worker:s1")

    assert [taken.body for taken in worker.take(19, timeout_s=30)] == list(range(1, 20))
    there.ack(in_hand.id)
    assert alpha.wait_receipt(in_hand.id, timeout_s=20)


def test_more_mail_than_the_window_waits_here_and_leaves_when_the_other_host_is_back(realm: Realm) -> None:
    realm.link("alpha")
    beta = realm.link("beta")
    boss, there = realm.bus("alpha", "boss:s1"), realm.bus("beta", "worker:s1")
    wait_for_peer(boss, "worker:s1")
    beta.kill()
    boss.send_many([{"to": "worker:s1", "type": "task", "body": n} for n in range(5000)])
    here = realm.bus("alpha", "worker:s1", register=False)
    wait_until(lambda: here.stats(full=False).ready <= 3000, "the window is full")
    assert here.stats(full=False).ready == 3000

    beta.start()

    wait_until(lambda: there.stats(full=False).ready == 5000, "all are on beta", 40)
    assert [message.body for message in take(there, 5000)] == list(range(5000))


def test_a_relay_that_starts_before_its_server_is_set_up_waits_for_it(nats: NATSServer, realm: Realm) -> None:
    nats.kill()
    nats.config = 'accounts { A { users: [{ user: "alpha", password: "s3cret" }] } }'  # without JetStream
    nats.start()
    url = nats.url.replace("//", "//alpha:s3cret@")
    with Linked(realm.db("alpha"), url, "alpha", waits=False) as relay:
        wait_until(lambda: "JetStream is not enabled" in relay.log(), "it has told why it waits")
        nats.kill()
        nats.config = ""

        nats.start()

        relay.wait_until_linked()
        assert relay.log().count("trying again") <= 3  # each reason once
