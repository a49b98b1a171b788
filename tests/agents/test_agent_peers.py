"""Agents among the peers: in Python, over the socket, on the command line; and what forgetting leaves of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from raven import BusClient
from raven.agents import process
from raven.agents.agents import Agents
from raven_rpc import Client
from tests.agents.sessions import HOST, Session
from tests.cli.shell import Shell
from tests.delivery.test_held import BETA, link
from tests.support import Foreign

Connect = Callable[..., BusClient]
Start = Callable[..., Session]
WANTED = "architect:pay"
DAY_US = 86_400_000_000


def shown(bus: Any) -> dict[str, tuple[str | None, ...]]:
    return {peer.address: (peer.agent, peer.state, peer.cwd, peer.about) for peer in bus.peers()}


@pytest.mark.both_ways
def test_peers_show_the_program_state_folder_and_words_of_an_agent(start: Start, connect: Connect) -> None:
    session, other = start("one"), start("two", "codex")
    session.bind(WANTED, about="plans the payment")
    session.note(state="busy")
    other.bind("verifier:pay")
    bus = connect("boss:pay")
    bus.register("boss:pay")

    living = shown(bus)
    session.kill()
    other.finish()
    ended = shown(bus)

    assert living == {
        WANTED: (HOST, "busy", os.getcwd(), "plans the payment"),
        "verifier:pay": ("codex", None, os.getcwd(), None),
        "boss:pay": (None, None, None, None),
    }
    assert {address: state for address, (_, state, _, _) in ended.items()} == {
        WANTED: "away", "verifier:pay": "away", "boss:pay": None,
    }  # fmt: skip


def test_of_several_sessions_at_an_address_a_living_one_is_shown(start: Start, connect: Connect) -> None:
    first, second = start("one"), start("two", "codex")
    first.bind(WANTED)
    second.bind(WANTED, share=True)
    bus = connect("boss:pay", register=False)

    second.kill()

    assert shown(bus)[WANTED][:2] == (HOST, None)
    first.kill()
    assert shown(bus)[WANTED][:2] == ("codex", "away")


def test_a_bound_socket_hides_the_folders_and_words_of_others(start: Start, serve: Callable[..., Any]) -> None:
    start("one").bind(WANTED, about="plans")
    start("two").bind("verifier:pay", about="checks")
    served = serve("--as", WANTED)

    with Client(served.path) as client:
        peers = shown(client)

    assert peers == {WANTED: (HOST, None, os.getcwd(), "plans"), "verifier:pay": (HOST, None, None, None)}


def test_an_address_of_another_host_shows_no_session_of_this_one(
    start: Start, connect: Connect, foreign: Foreign
) -> None:
    session = start("one")
    session.bind(WANTED)
    session.kill()
    link(foreign)
    foreign.execute("UPDATE identities SET host = ? WHERE address = ?", BETA, WANTED)

    [peer] = connect("boss:pay", register=False).peers()

    assert (peer.host, peer.agent, peer.state) == (BETA, None, None)


@pytest.mark.both_ways
def test_the_table_of_peers_has_columns_of_agents_only_if_there_is_one(shell: Shell, agents: Agents) -> None:
    shell.ok("send", "--from", "boss:pay", "--to", "ci:pay", "-t", "job")
    plain = shell.ok("peers").splitlines()[0].split()
    agents.bind(WANTED, HOST, "here", process.own(), "/home/me/pay")
    agents.note(HOST, "here", state="listening")

    heading, *rows = (line.split() for line in shell.ok("peers").splitlines())

    assert heading == [*plain, "AGENT", "STATE", "FOLDER"]
    assert {row[0]: row[-3:] for row in rows} == {
        WANTED: [HOST, "listening", "/home/me/pay"],
        "boss:pay": ["-", "-", "-"],
        "ci:pay": ["-", "-", "-"],
    }
    [peer] = [one for one in shell.json("peers", "--json")["peers"] if one["address"] == WANTED]
    assert (peer["agent"], peer["state"], peer["cwd"], peer["about"]) == (HOST, "listening", "/home/me/pay", None)


# forgetting


@pytest.mark.both_ways
@pytest.mark.parametrize("target", [WANTED, "*:pay", "architect:*"])
def test_a_forgotten_address_has_no_session_that_ended(
    start: Start, connect: Connect, agents: Agents, target: str
) -> None:
    session, elsewhere = start("one"), start("two")
    session.bind(WANTED)
    elsewhere.bind("verifier:other")
    session.kill()
    elsewhere.kill()
    bus = connect("boss:main")

    assert bus.forget(target).addresses == 1

    assert [agent.native_id for agent in agents.all()] == ["two"]
    assert start("one").bind("new:pay", is_wish=True)["address"] == "new:pay"


def test_a_living_session_stays_when_its_address_is_forgotten(start: Start, connect: Connect, agents: Agents) -> None:
    session = start("one")
    session.bind(WANTED)

    connect("boss:main").forget("*:*")

    assert [agent.native_id for agent in agents.all()] == ["one"]
    assert start("two").bind(WANTED)["address"] == "architect-2:pay"


def test_an_address_that_is_unseen_for_its_lifetime_has_no_session_that_ended(
    start: Start, connect: Connect, agents: Agents, foreign: Foreign
) -> None:
    ended, living = start("ended"), start("living")
    ended.bind("ended:pay")
    living.bind("living:pay")
    ended.kill()
    foreign.execute("UPDATE identities SET last_seen = last_seen - ?", 2 * DAY_US)
    boss = connect("boss:pay", identity_ttl_s=3600)
    boss.register("boss:pay", "other:pay")

    boss.send("*:pay", "news")

    assert [agent.native_id for agent in agents.all()] == ["living"]
