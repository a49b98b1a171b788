"""The server incident: a real server, real faults, and five processes that find and fix them."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import pytest

from raven import BusClient
from tests.docs.examples import (
    DEADLINE_S,
    SERVER_INCIDENT,
    WITHOUT_FIXER,
    Ended,
    blocks,
    deadline,
    in_example,
    run,
    run_to_its_end,
    shapes,
    start,
)

AGENT = "python examples/04-server-incident/agents.py"


@pytest.fixture(scope="module")
def incident(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    return run_to_its_end(SERVER_INCIDENT, tmp_path_factory.mktemp("incident"))


def test_the_server_incident_ends_with_every_fault_found_fixed_and_verified(incident: Ended) -> None:
    _, noise, *faults = incident.output.partition("\n\n")[2].splitlines()[:5]

    assert noise.startswith("dead links ")
    assert noise.endswith(" noted")
    for name, row in zip(["full store", "wedged worker", "bad config"], faults, strict=True):
        detected_s, fixed_s = (float(number) for number in re.findall(r"([\d.]+) s", row))
        assert row.startswith(name)
        assert row.endswith("  verified")
        assert 0 <= detected_s <= fixed_s


@pytest.mark.parametrize(
    ("remedy", "urgency"),
    [("POST /admin/purge", "blocking"), ("PUT /admin/config", "blocking"), ("POST /admin/quarantine", "prompt")],
)
def test_each_incident_is_one_conversation_of_all_five_agents(incident: Ended, remedy: str, urgency: str) -> None:
    action = next(msg for msg in incident.messages if remedy in msg.body["note"])

    thread = incident.about(action.correlation_id)
    crew = {msg.sender.partition(":")[0] for msg in thread} - {"lead"}
    assert crew == {"monitor", "triage", "diagnostician", "fixer", "verifier"}
    assert [msg.urgency for msg in thread[1:]] == [urgency] * len(thread[1:])
    assert [msg.type for msg in thread][-2:] == ["fixed", "verified"]


def test_what_is_no_fault_is_noted_for_information_and_left_alone(incident: Ended) -> None:
    (noted,) = incident.of_type("noted")

    assert noted.urgency == "fyi"
    assert [msg.type for msg in incident.about(noted.correlation_id)] == ["alert", "noted"]


def test_the_server_incident_prints_what_its_readme_shows(incident: Ended) -> None:
    assert shapes(blocks("04-server-incident", "text")[-1]) <= shapes(incident.output)
    assert incident.output.splitlines()[-1] == f"bus: {incident.db_path}"


def test_the_agents_of_the_server_incident_and_both_lives_of_the_server_are_processes(incident: Ended) -> None:
    agents = [msg.body["pid"] for msg in incident.of_type("on-duty")]
    (restarted,) = incident.of_type("restarted")
    servers = [int(pid) for pid in re.findall(r"process (\d+)", restarted.body["note"])]

    assert (len(agents), len(servers)) == (5, 2)
    assert len({*agents, *servers, os.getpid()}) == 5 + 2 + 1


def test_the_store_stays_full_though_an_order_leaves_it_while_carts_are_abandoned(tmp_path: Path) -> None:
    # In a process of its own, since the example's modules are no package.
    program = """
import sys
from threading import Thread
from probes import call
from run import abandon_carts, order_by_pigeon
from supervisor import Supervisor
with Supervisor(sys.argv[1]) as server:
    order_by_pigeon(server.address)
    customer = Thread(target=abandon_carts, args=[server.address])
    customer.start()
    while not any("/carts 507" in line for line in call(server.address, "GET", "/log")[1]):
        pass
    call(server.address, "POST", "/admin/quarantine", {"order": 1})
    customer.join()
    print(call(server.address, "POST", "/orders", {"item": "lamp", "courier": "van"}))
"""
    assert in_example("04-server-incident", program, tmp_path) == "(507, 'the store is full')\n"


@pytest.mark.slow
def test_the_server_incident_fails_if_nobody_fixes_the_faults(tmp_path: Path) -> None:
    done = run(WITHOUT_FIXER, tmp_path)

    assert done.returncode == 1
    assert re.search(r"^full store .*  NOT verified$", done.stdout, re.MULTILINE)
    assert " fixed " not in done.stdout.partition("\n\n")[0]


def test_a_case_that_stays_broken_goes_back_to_be_diagnosed_anew_and_is_escalated_in_the_end(tmp_path: Path) -> None:
    db_path = str(tmp_path / "bus.db")
    claim = {"probe": "price", "note": "looks good"}
    with (
        socket.socket() as nobody_listens,
        BusClient.at("fixer:incident", db_path) as fixer,
        BusClient.at("lead:incident", db_path) as lead,
    ):
        nobody_listens.bind(("127.0.0.1", 0))
        shop = "{}:{}".format(*nobody_listens.getsockname())
        roles = ["verifier", "diagnostician"]
        agents = [start(f"{AGENT} {role} {db_path} {shop}", tmp_path) for role in roles]
        with deadline(agents[0]), deadline(agents[1]):
            diagnoses = fixer.listen(timeout_s=DEADLINE_S)
            for _ in range(2):
                fixer.send("verifier:incident", "fixed", claim, correlation_id="price-1")
                diagnosis = next(diagnoses)
                assert diagnosis.body["note"] == "the server says nothing of itself"
                assert diagnosis.body["restart"] is None
            fixer.send("verifier:incident", "fixed", claim, correlation_id="price-1")
            escalated = next(msg for msg in lead.listen(timeout_s=DEADLINE_S) if msg.type == "escalated")
            lead.send([f"{role}:incident" for role in roles], "stand-down")
            outcomes = [(*agent.communicate(), agent.returncode) for agent in agents]

    assert escalated.body["note"].startswith("3 attempts in vain: no price to be had")
    assert escalated.urgency == "blocking"
    assert outcomes == [("", "", 0)] * 2
