"""Programs that know of no link, on two linked hosts: the command line, sqlite3, Node, HTTP, and the examples."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from raven import BusObserver
from scripts.harness.deadline import DEADLINE_S, wait_until
from tests.cli.shell import Shell, finish
from tests.docs.examples import CONSUMER, PRODUCER, ROOT, in_example, start
from tests.http_bridge import BridgeHere
from tests.linked_hosts import Realm, take, wait_for_peer
from tests.support import needs
from tests.thread_server import ServedHere


@pytest.fixture(scope="module")
def shells(linked: Realm) -> dict[str, Shell]:
    """Put a shell user on each host, into the folder with the bus."""
    return {host: Shell(Path(linked.db(host)).parent) for host in ("alpha", "beta")}


@pytest.fixture
def close() -> Iterator[Callable[..., None]]:
    """Return a function that lets another one be called at the end of the test."""
    with ExitStack() as stack:
        yield stack.callback


def arrive(shell: Shell, address: str) -> str:
    """Wait until an inbox shows something, and return it."""
    return wait_until(
        lambda: "(no messages)" not in (shown := shell.ok("inbox", "-a", address)) and shown, f"mail for {address}"
    )


def test_the_sessions_of_the_readme_do_what_they_show_with_their_roles_on_two_hosts(shells: dict[str, Shell]) -> None:
    needs("jq")
    alpha, beta = shells["alpha"], shells["beta"]
    beta.ok("session", "init", "swarm-1", "-a", "architect:swarm-1", "-a", "verifier:swarm-1")
    wait_until(lambda: "verifier:swarm-1" in alpha.ok("peers"), "the roles are known on alpha")
    plan = ("send", "--from", "conductor:swarm-1", "--to", "architect:swarm-1", "-t", "plan", "--body", '{"step": 1}')

    sent = alpha.ok(*plan).split()[1]
    shown = arrive(beta, "architect:swarm-1")

    number = shown.split()[0].removeprefix("#")
    assert shown == f'#{number} conductor:swarm-1 -> architect:swarm-1 type=plan {{"step": 1}}\n'
    assert beta.ok("ack", number) == f"acked #{number}\n"
    assert beta.ok("inbox", "-a", "architect:swarm-1") == "(no messages)\n"
    receipts = ("receipts", sent.removeprefix("#"), "-j")
    wait_until(lambda: alpha.json(*receipts)["receipts"][0]["state"] == "acked", "alpha has heard of it")
    assert alpha.json(*receipts)["receipts"][0]["host"] == "beta"

    waiting = beta.start("subscribe", "-a", "verifier:swarm-1", "--count", "1", "--exec", "jq -r .body")
    note = ("--to", "*:swarm-1", "-t", "note", "--body", '"all of you"', "--urgency", "blocking")
    alpha.ok("send", "--from", "conductor:swarm-1", *note)
    assert finish(waiting) == (0, "all of you\n", "")
    assert alpha.ok("tail", "--no-follow", "--from", str(int(sent.removeprefix("#")) + 1)).endswith(
        ' conductor:swarm-1 -> *:swarm-1 type=note urgency=blocking "all of you"\n'
    )


def test_the_command_line_asks_answers_and_mends_across_hosts(shells: dict[str, Shell]) -> None:
    alpha, beta = shells["alpha"], shells["beta"]
    beta.ok("session", "init", "cli", "-a", "worker:cli")
    wait_until(lambda: "worker:cli" in alpha.ok("peers"), "the worker is known on alpha")
    asking = alpha.start(
        "request", "--from", "boss:cli", "--to", "worker:cli", "-t", "add", "--body", "[1, 2]", "--timeout", "20s"
    )
    [question] = wait_until(lambda: beta.json("claim", "-a", "worker:cli", "-j")["messages"], "the question is on beta")

    beta.ok("reply", str(question["id"]), "-a", "worker:cli", "-t", "sum", "--body", "3")
    beta.ok("ack", str(question["id"]), "-a", "worker:cli", "--lease", str(question["lease"]))

    assert finish(asking) == (0, "3\n", "")
    sent = alpha.ok("send", "--from", "boss:cli", "--to", "worker:cli", "-t", "task", "--max-attempts", "1").split()[1]
    [task] = wait_until(lambda: beta.json("claim", "-a", "worker:cli", "-j")["messages"], "the task is on beta")
    beta.ok("nack", str(task["id"]), "-a", "worker:cli", "--reason", "no such thing")
    wait_until(lambda: "no such thing" in alpha.ok("dead-letters"), "it is dead on alpha")
    alpha.ok("requeue", sent.removeprefix("#"))
    assert arrive(beta, "worker:cli").startswith(f"#{task['id']} boss:cli -> worker:cli type=task")


def test_sqlite3_on_both_hosts_sends_and_sees_what_is_held(linked: Realm) -> None:
    needs("sqlite3")

    def sql(host: str, statement: str) -> str:
        done = subprocess.run(
            ["sqlite3", linked.db(host), statement], capture_output=True, text=True, timeout=60, check=True
        )
        return done.stdout.strip()

    there = linked.bus("beta", "worker:sql")
    wait_for_peer(linked.bus("alpha", "boss:sql"), "worker:sql")

    sql("alpha", "INSERT INTO outbox (sender, recipient, type, body) VALUES ('cron:sql', 'worker:sql', 'tick', '[1]')")

    pending = "SELECT recipient, type, body, state FROM pending WHERE sender = 'cron:sql'"
    wait_until(lambda: sql("beta", pending) == "worker:sql|tick|[1]|sent", "the message is on beta")
    assert sql("alpha", pending) == "worker:sql|tick|[1]|held"
    assert [message.body for message in take(there)] == [[1]]
    wait_until(lambda: not sql("alpha", pending), "alpha has heard of it")


def test_http_on_both_hosts_sends_and_shows(linked: Realm, close: Callable[..., None]) -> None:
    bridges = {host: BridgeHere(linked.db(host)) for host in ("alpha", "beta")}
    for bridge in bridges.values():
        close(bridge.close)
    there = linked.bus("beta", "worker:http")
    wait_for_peer(linked.bus("alpha", "boss:http"), "worker:http")
    body = {"from": "boss:http", "to": "worker:http", "type": "task", "body": {"step": 1}}

    sent = bridges["alpha"].post("/send", json=body).json()["id"]

    def inbox() -> list[dict[str, object]]:
        return list(bridges["beta"].get("/inbox", params={"role": "worker:http"}).json()["messages"])

    [message] = wait_until(inbox, "the message is on beta")
    assert (message["sender"], message["body"], message["state"]) == ("boss:http", {"step": 1}, "sent")
    there.ack(take(there)[0].id)

    def receipt() -> tuple[str, str]:
        [receipt] = bridges["alpha"].get(f"/message/{sent}").json()["receipts"]
        return receipt["state"], receipt["host"]

    wait_until(lambda: receipt() == ("acked", "beta"), "alpha has heard of it")


def test_a_worker_in_node_answers_the_jobs_of_another_host(linked: Realm, close: Callable[..., None]) -> None:
    needs("node")
    served = ServedHere(linked.db("beta"), str(linked.folder / "node.sock"))
    close(served.close)
    boss = linked.bus("alpha", "boss:node")
    worker = ["node", ROOT / "examples/06-json-rpc-node/worker.mjs", served.path, "worker:node", "w"]
    with subprocess.Popen(worker, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        close(process.kill)
        jobs = [
            boss.send("worker:node", "job", {"text": text, "pauses_ms": [1]}, correlation_id=text) for text in "äbc"
        ]
        answers = take(boss, 3)
        boss.send("worker:node", "no-more")
        output, _ = process.communicate(timeout=2 * DEADLINE_S)

    assert process.returncode == 0, output
    assert [(answer.reply_to, answer.correlation_id) for answer in answers] == [
        (job.id, job.correlation_id) for job in jobs
    ]
    assert {answer.body["by"] for answer in answers} == {"w"}


def test_alice_and_bob_say_hello_from_two_hosts(linked: Realm) -> None:
    alice, bob = linked.bus("alpha", "alice:hello"), linked.bus("beta", "bob:hello")
    wait_for_peer(alice, bob.address)

    question = alice.send(to=bob.address, type="question", body={"text": "Hello, world?"})
    [asked] = wait_until(bob.inbox, "the question is on beta")
    bob.send(to=asked.sender, type="answer", body={"text": "Hello, world!"}, reply_to=asked.id)
    bob.ack(asked.id)

    [answer] = wait_until(alice.inbox, "the answer is on alpha")
    assert (answer.body, answer.reply_to) == ({"text": "Hello, world!"}, question.id)
    alice.wait_receipt(question.id, timeout_s=DEADLINE_S)
    assert alice.read(question.id).state == "acked"


def test_the_consumer_and_the_producer_of_the_example_run_on_two_hosts(linked: Realm, tmp_path: Path) -> None:
    with (
        start(PRODUCER, tmp_path, linked.db("alpha")) as producer,
        start(CONSUMER, tmp_path, linked.db("beta")) as other,
    ):
        output, errors = other.communicate(timeout=3 * DEADLINE_S)
        assert (other.returncode, errors) == (0, "")
        assert producer.wait(DEADLINE_S) == 0

    assert "no more: 5 of 5 jobs done, 23 words in all" in output


def test_the_news_desk_works_with_its_agents_on_two_hosts(linked: Realm) -> None:
    split = """
import sys, run, schemas
from agents import ROLES, address
from raven import BusClient
alpha, beta = sys.argv[1:]
schemas.enforce()
with BusClient.at(address("chief"), alpha) as chief:
    crew = [run.start(role, alpha if role in ("writer", "publisher") else beta) for role in ROLES]
    try:
        stories = run.edit_one_edition(chief)
        assert run.went_home(crew)
    finally:
        for process in crew:
            process.kill()
            process.wait()
run.print_front_page(stories)
"""
    front_page = in_example("03-news-desk", split, linked.db("alpha"), linked.db("beta"))

    assert front_page.count("24.0 percent") == 1
    assert "42.0" not in front_page
    with BusObserver(linked.db("alpha")) as bus:
        assert sorted(str(message.correlation_id) for message in bus.tail(follow=False) if message.type == "story") == [
            "harbour-ferry", "late-trams", "school-meals"
        ]  # fmt: skip


@pytest.mark.slow
def test_the_incident_drill_ends_well_with_its_diagnostician_on_another_host(linked: Realm) -> None:
    split = """
import subprocess, sys, run
alpha, beta = sys.argv[1:]
start = subprocess.Popen
def popen(command, **options):
    if len(command) > 2 and command[2] in ("diagnostician", "monitor"):
        command = [*command[:3], beta, *command[4:]]
    return start(command, **options)
run.subprocess.Popen = popen
run.os.path.exists = lambda path: False
run.print_transcript = lambda bus: None  # other tests use this bus, too
sys.argv = ["run.py", alpha]
sys.exit(run.main())
"""
    output = in_example("04-server-incident", split, linked.db("alpha"), linked.db("beta"))

    assert [line.split()[-1] for line in output.splitlines() if line.startswith(("dead links", "full store"))] == [
        "noted", "verified"
    ]  # fmt: skip
    assert "NOT" not in output


@pytest.mark.slow
def test_the_killed_pipeline_counts_each_order_once_with_its_stages_on_two_hosts(linked: Realm) -> None:
    split = """
import json, random, sys, time
import run
from collections import Counter
from stages import STAGES, TABLES, MAX_ATTEMPTS, WAITS, HOLDS, WRITES, address
from worker import Worker
from raven import BusClient
where = dict(zip(("intake", "pricing", "ledger"), (sys.argv[1], sys.argv[2], sys.argv[1])))
rng = random.Random(7)
orders = [run.make_order(number, rng) for number in range(1, 61)]
with (BusClient.at(address("till"), sys.argv[1], max_attempts=MAX_ATTEMPTS) as till,
      BusClient.at(address("auditor"), sys.argv[2]) as there):
    till.execute(TABLES)
    there.execute(TABLES)
    crew = [Worker(stage, where[stage]) for stage in STAGES for _ in range(2)]
    booked = Counter()
    try:
        for kill in range(20):
            for order in orders[3 * kill : 3 * kill + 3]:
                till.send(address("intake"), "order", order)
            run.collect(till, booked, rng.uniform(*run.PAUSE_S))
            victim = rng.choice(crew)
            victim.wait_for(WAITS, HOLDS, WRITES, within_s=run.START_WITHIN_S)
            victim.kill()
            victim.start()
        give_up_at = time.monotonic() + run.FINISH_WITHIN_S
        while len(booked) < len(orders) and time.monotonic() < give_up_at:
            run.collect(till, booked, 0.1)
        run.collect(till, booked, 1.0)
    finally:
        for worker in crew:
            worker.kill()
    prices = there.execute("SELECT order_id, cents FROM prices ORDER BY order_id")
    cents = till.execute("SELECT sum(cents), sum(orders) FROM accounts")
    sold = dict(till.execute("SELECT item, qty FROM sold"))
expected = [(order["id"], run.price_cents(order)) for order in orders]
items = Counter()
for order in orders:
    items.update(order["lines"])
assert prices == expected, (prices, expected)
assert cents == [(sum(cents for _, cents in expected), len(orders))], cents
assert sold == items, (sold, items)
print(json.dumps(sorted(booked.items())))
"""
    booked = json.loads(in_example("08-exactly-once", split, linked.db("alpha"), linked.db("beta")))

    assert booked == [[number, 1] for number in range(1, 61)]
