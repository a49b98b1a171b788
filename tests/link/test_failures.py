"""What the documents promise of failures: whatever is killed, cut, rolled back or done by hand, no message is lost."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from raven import BusClient
from scripts.harness.deadline import DEADLINE_S, Deadline, wait_until
from scripts.harness.linked import Linked
from scripts.harness.nats_server import NATSCluster, NATSServer
from tests.cli.shell import Shell
from tests.link.conftest import nats_binary
from tests.linked_hosts import Realm, Worker, wait_for_peer

KILLED_AT = Path(__file__).parents[1] / "programs" / "killed_at.py"
EXCHANGE, SERVER = "raven.exchange.exchange", "raven.link.server"
NUMBERS = itertools.count()


class Lab:
    """Two linked hosts and their server, each of which a test may kill, if it brings it back."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.nats = stack.enter_context(NATSServer(folder / "nats", nats_binary("newest")))
        self.realm = Realm(folder, self.nats.url, stack)
        self.relays = {host: self.realm.link(host) for host in ("alpha", "beta")}

    def pair(self, session: str) -> tuple[BusClient, Worker]:
        """Return a boss on alpha and a worker on beta that know of each other."""
        boss = self.realm.bus("alpha", f"boss:{session}")
        worker = self.realm.worker("beta", f"worker:{session}")
        wait_for_peer(boss, worker.bus.address)
        return boss, worker


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Link two hosts for all tests of this module."""
    with ExitStack() as stack:
        yield Lab(tmp_path_factory.mktemp("lab"), stack)


def send(boss: BusClient, address: str, numbers: range) -> list[int]:
    return [boss.send(address, "task", n).id for n in numbers]


def check(boss: BusClient, worker: Worker, ids: list[int]) -> None:
    """Check that the worker gets these messages once and in order, and that the boss hears of each."""
    taken = worker.take(len(ids), timeout_s=2 * DEADLINE_S)
    assert [message.body for message in taken] == list(range(len(ids)))
    for id in ids:
        assert boss.wait_receipt(id, timeout_s=DEADLINE_S)[0].attempts == 1
    assert len(worker.taken) == len(ids)


@pytest.mark.parametrize(
    ("host", "module", "method", "when", "count"),
    [
        pytest.param("alpha", EXCHANGE, "Exchange.hand_over", "after", 2, id="hold and publish"),
        pytest.param("alpha", SERVER, "Server.publish", "after", 2, id="publish and answer", marks=pytest.mark.slow),
        pytest.param("beta", EXCHANGE, "Exchange.take_in", "before", 2, id="fetch and commit", marks=pytest.mark.slow),
        pytest.param("beta", EXCHANGE, "Exchange.take_in", "after", 2, id="commit and sign"),
        pytest.param("beta", SERVER, "Server.sign", "after", 2, id="sign and ack", marks=pytest.mark.slow),
        pytest.param("beta", EXCHANGE, "Exchange.tell", "after", 2, id="note and tell", marks=pytest.mark.slow),
        pytest.param("alpha", EXCHANGE, "Exchange.take_in", "after", 2, id="hear and ack", marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_a_relay_that_is_killed_between_two_steps_loses_doubles_and_reorders_nothing(
    lab: Lab, host: str, module: str, method: str, when: str, count: int
) -> None:
    boss, worker = lab.pair(f"kill-{next(NUMBERS)}")
    relay = lab.relays[host]
    relay.stop()
    command = [sys.executable, KILLED_AT, module, method, when, str(count)]
    arguments = ["link", relay.url, "--name", host, "--db", relay.db]
    ids: list[int] = []
    with subprocess.Popen([*command, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as dying:
        deadline = Deadline(2 * DEADLINE_S)
        while dying.poll() is None and deadline.left_s():
            ids += send(boss, worker.bus.address, range(len(ids), len(ids) + 1))
            threading.Event().wait(0.02)  # so that there are several transactions
        dying.kill()
        assert dying.stderr is not None
        assert (dying.wait(), dying.stderr.read()) == (-9, b"")
        assert deadline.left_s(), "it has not come to that step"

    relay.start()

    check(boss, worker, ids)


def test_a_server_that_is_rolled_back_to_an_older_disk_sends_nothing_twice(lab: Lab) -> None:
    boss, worker = lab.pair("rollback")
    ids = send(boss, worker.bus.address, range(20))
    older = lab.nats.copy_store()
    ids += send(boss, worker.bus.address, range(20, 40))
    worker.take(40)
    ids += send(boss, worker.bus.address, range(40, 50))
    lab.nats.kill()
    lab.nats.roll_back(older)
    ids += send(boss, worker.bus.address, range(50, 60))

    lab.nats.start()

    ids += send(boss, worker.bus.address, range(60, 70))
    check(boss, worker, ids)


@pytest.mark.slow
def test_hosts_that_are_cut_off_from_a_server_that_is_silent_go_on_and_drain_when_it_answers(lab: Lab) -> None:
    boss, worker = lab.pair("cable")
    local = lab.realm.worker("alpha", "near:cable")
    ids = send(boss, worker.bus.address, range(10))
    worker.take(10)
    lab.nats.pause()
    try:
        ids += send(boss, worker.bus.address, range(10, 300))
        boss.send(local.bus.address, "task", "here")
        assert local.take(1)[0].body == "here"
        wait_until(lambda: not lab.relays["alpha"].status()["connected_at"], "the loss is noticed", 2 * DEADLINE_S)
        ids += send(boss, worker.bus.address, range(300, 310))
    finally:
        lab.nats.resume()

    check(boss, worker, ids)


@pytest.mark.slow
def test_relays_outlive_a_server_that_is_wiped_at_each_stage_of_their_return(lab: Lab) -> None:
    boss, worker = lab.pair("stages")
    ids: list[int] = []
    for stage in range(16):
        ids += send(boss, worker.bus.address, range(len(ids), len(ids) + 10))
        lab.nats.kill()
        lab.nats.wipe()
        lab.nats.start()
        threading.Event().wait(0.03 * stage)  # they connect, make the streams, read the cards, publish

    check(boss, worker, ids)
    assert not any(relay.has_ended for relay in lab.relays.values())


def test_a_held_message_that_is_acked_by_hand_where_it_was_sent_ends_on_the_other_host(lab: Lab) -> None:
    boss, there = lab.realm.bus("alpha", "boss:hand"), lab.realm.bus("beta", "worker:hand")
    wait_for_peer(boss, there.address)
    messages = [boss.send(there.address, "task", n) for n in range(3)]
    wait_until(lambda: len(there.inbox(peek=True)) == 3, "the messages are on beta")
    here = lab.realm.bus("alpha", there.address, register=False)

    here.ack(messages[1].id)

    wait_until(lambda: [message.body for message in there.inbox(peek=True)] == [0, 2], "it has ended on beta")


def test_a_host_that_is_forgotten_under_load_loses_no_mail(lab: Lab) -> None:
    boss, worker = lab.pair("gone")
    relay = lab.relays["beta"]
    ending = threading.Event()
    sent: list[int] = []

    def send_on() -> None:
        while not ending.wait(0.002):
            boss.send(worker.bus.address, "task", len(sent))
            sent.append(len(sent))

    sending = threading.Thread(target=send_on)
    sending.start()
    try:
        worker.take(50)
        relay.kill()
        wait_until(lambda: len(sent) > len(worker.taken) + 100, "mail waits for beta")
        said = Shell(Path(boss.db_path).parent).ok("link", "forget", "beta")
        here = lab.realm.worker("alpha", worker.bus.address)
        here.take(100)
    finally:
        ending.set()
        sending.join(DEADLINE_S)

    assert said.startswith("forgot beta: ")
    wait_until(lambda: {m.body for m in [*worker.taken, *here.taken]} == set(sent), "all were handled", 2 * DEADLINE_S)
    relay.start()
    boss.send("worker:again", "task")
    assert lab.realm.worker("beta", "worker:again").take(1)


@pytest.mark.slow
def test_a_cluster_without_a_majority_lets_local_work_go_on_and_all_mail_arrives_when_it_is_back(
    tmp_path: Path,
) -> None:
    with NATSCluster(tmp_path / "nats", nats_binary("newest")) as cluster, ExitStack() as stack:
        realm = Realm(tmp_path, cluster.urls[2], stack)  # a relay learns of the others
        for host in ("alpha", "beta"):
            stack.enter_context(Linked(realm.db(host), realm.url, host, waits=False)).wait_until_linked(3 * DEADLINE_S)
        boss, worker = realm.bus("alpha", "boss:s1"), realm.worker("beta", "worker:s1")
        local = realm.worker("alpha", "near:s1")
        wait_for_peer(boss, worker.bus.address)
        ids = send(boss, worker.bus.address, range(20))
        worker.take(20)
        for server in cluster.servers[:2]:
            server.kill()
        ids += send(boss, worker.bus.address, range(20, 60))
        boss.send(local.bus.address, "task", "here")
        assert local.take(1)[0].body == "here"
        assert len(worker.taken) == 20

        cluster.servers[0].start()

        check(boss, worker, ids)
