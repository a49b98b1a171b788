"""Presence: what a session tells of itself, over `/clear`, other processes and its end, and which senders are muted."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from raven import AddressError, BusClient, InputError
from raven.agents import agents as agents_module
from raven.agents import process
from raven.agents.agents import Agents
from tests.agents.sessions import HOST, Session, bound
from tests.cli.shell import Shell
from tests.support import Foreign

Connect = Callable[..., BusClient]
Start = Callable[..., Session]
WANTED = "architect:pay"


def bind_here(agents: Agents, native_id: str = "here", **options: str) -> None:
    agents.bind(WANTED, HOST, native_id, process.own(), os.getcwd(), **options)


# note


def test_a_session_tells_its_state_and_whether_hooks_speak(agents: Agents) -> None:
    bind_here(agents, about="the plan")
    [before] = agents.of_address(WANTED)

    agents.note(HOST, "here", state="busy")
    agents.note(HOST, "here", has_hooks=True)
    [after] = agents.of_address(WANTED)

    assert (before.state, before.has_hooks, before.about, before.cwd) == (None, None, "the plan", os.getcwd())
    assert (after.state, after.has_hooks, after.pid) == ("busy", True, os.getpid())
    assert after.seen_at > before.seen_at
    assert after.as_dict()["seen_at"].endswith("Z")


def test_a_tick_writes_only_a_change_and_now_and_then_a_sign_of_life(
    agents: Agents, foreign: Foreign, monkeypatch: pytest.MonkeyPatch
) -> None:
    bind_here(agents)
    agents.note(HOST, "here", state="idle")

    def version() -> int:
        return foreign.value("PRAGMA data_version")

    before = version()
    for _ in range(3):
        agents.note(HOST, "here")
        agents.note(HOST, "here", state="idle")
    unchanged = version()
    monkeypatch.setattr(agents_module, "REFRESH_S", 0.0)
    agents.note(HOST, "here")
    sign_of_life = version()

    assert before == unchanged != sign_of_life
    assert agents.all()[0].state == "idle"


def test_a_session_that_is_not_bound_tells_nothing(agents: Agents) -> None:
    agents.note(HOST, "unknown", state="busy")
    agents.end(HOST, "unknown")

    assert agents.all() == []


def test_a_session_that_goes_on_in_another_process_is_not_ended_by_the_first(start: Start, agents: Agents) -> None:
    first, second = start("one"), start("one")
    first.bind(WANTED)
    second.bind(WANTED, is_wish=True)
    second.note(state="busy")

    first.note(state="idle")
    first.finish()

    [agent] = agents.all()
    assert (agent.pid, agent.state) == (second.pid, "busy")


def test_a_new_process_of_a_session_begins_without_the_old_state(start: Start, agents: Agents) -> None:
    first, second = start("one"), start("one")
    first.bind(WANTED, about="the plan")
    first.note(state="busy", has_hooks=True)
    first.kill()

    second.bind(WANTED, is_wish=True)
    [resumed] = agents.all()
    second.note(state="idle", has_hooks=True)
    second.bind("verifier:pay")
    [joined] = agents.all()

    assert (resumed.state, resumed.has_hooks, resumed.about) == (None, None, "the plan")
    assert (joined.state, joined.has_hooks, joined.about) == ("idle", True, "the plan")


def test_a_session_that_ends_has_no_process_and_keeps_its_address(agents: Agents) -> None:
    bind_here(agents)
    agents.note(HOST, "here", state="busy")

    agents.end(HOST, "here")

    [agent] = agents.all()
    assert (agent.address, agent.pid, agent.state, agent.is_alive()) == (WANTED, None, None, False)


def test_sessions_are_listed_with_the_one_seen_last_first(agents: Agents) -> None:
    for native_id in ("one", "two", "three"):
        agents.bind(WANTED, HOST, native_id, process.own(), "/", share=True)
    agents.note(HOST, "two", state="idle")

    assert [agent.native_id for agent in agents.all()] == ["two", "three", "one"]
    assert agents.of_address(WANTED) == agents.all()
    assert agents.of_address("other:pay") == []


# rebind


def test_clear_leaves_the_address_with_the_process(start: Start, agents: Agents) -> None:
    session = start("before")
    session.bind(WANTED, about="the plan")
    session.note(state="busy", has_hooks=True)

    assert session.rebind("after") == bound(WANTED)

    after, before = agents.of_address(WANTED)
    assert (after.native_id, after.pid, after.about, after.state, after.has_hooks) == (
        "after", session.pid, "the plan", "busy", True,
    )  # fmt: skip
    assert (before.native_id, before.is_alive()) == ("before", False)
    assert start("other").bind(WANTED) == bound("architect-2:pay", taken_by="after")


def test_a_session_that_was_cleared_away_gets_another_address_when_it_is_resumed(start: Start) -> None:
    session = start("before")
    session.bind(WANTED)
    session.rebind("after")

    assert start("before").bind("x:pay", is_wish=True) == bound("architect-2:pay", taken_by="after")


def test_a_process_that_goes_back_to_a_session_gets_its_address_back(start: Start) -> None:
    session = start("one")
    session.bind(WANTED)
    session.rebind("two")
    session.bind("verifier:pay")

    assert session.rebind("one") == bound(WANTED, resumed=True)
    assert session.rebind("two") == bound("verifier:pay", resumed=True)


def test_a_process_that_goes_back_to_a_session_whose_address_is_taken_keeps_its_own(start: Start) -> None:
    session, other = start("one"), start("other")
    session.bind(WANTED)
    session.rebind("two")
    session.bind("verifier:pay")
    other.bind(WANTED)

    assert session.rebind("one") == bound("verifier:pay")


def test_a_clear_in_a_shared_address_stays_there(start: Start) -> None:
    first, second = start("one"), start("two")
    first.bind("pool:pay")
    second.bind("pool:pay", share=True)

    assert second.rebind("three") == bound("pool:pay")


def test_a_clear_in_one_of_two_servers_of_a_session_finds_the_address(start: Start, agents: Agents) -> None:
    first, second = start("one"), start("one")
    first.bind(WANTED)
    second.bind(WANTED, is_wish=True)
    second.finish()

    assert first.rebind("two") == bound(WANTED)
    assert agents.all()[0].pid == first.pid


def test_a_clear_after_the_address_was_lost_finds_the_next_one(start: Start) -> None:
    first, second, other = start("one"), start("one"), start("other")
    first.bind(WANTED)
    second.bind(WANTED, is_wish=True)
    second.finish()
    other.bind(WANTED)

    assert first.rebind("two") == bound("architect-2:pay", taken_by="other")


@pytest.mark.parametrize("state", ["unknown", "ended"])
def test_a_session_without_a_process_cannot_go_on_as_another(start: Start, agents: Agents, state: str) -> None:
    ended = start("ended")
    ended.bind(WANTED)
    ended.finish()

    with pytest.raises(InputError, match=f"session '{state}' of 'claude-code' has no address: bind it first"):
        agents.rebind(HOST, state, "new")


# mutes


def test_addresses_are_muted_until_they_are_not(agents: Agents) -> None:
    assert agents.muted() == set()

    agents.mute("ci:pay", "noisy:pay")
    agents.mute("ci:pay")
    both = agents.muted()
    agents.unmute("ci:pay", "unknown:pay")

    assert (both, agents.muted()) == ({"ci:pay", "noisy:pay"}, {"noisy:pay"})


def test_no_pattern_can_be_muted(agents: Agents) -> None:
    with pytest.raises(AddressError, match="broadcast pattern"):
        agents.mute("ok:pay", "*:pay")
    assert agents.muted() == set()


def test_the_command_mute_mutes_and_lists(shell: Shell) -> None:
    shell.ok("init")

    assert shell.ok("mute", "--list") == "(no addresses)\n"
    assert shell.ok("mute", "ci:pay", "noisy:pay") == "muted ci:pay\nmuted noisy:pay\n"
    assert shell.ok("mute", "--list") == "ci:pay\nnoisy:pay\n"
    assert shell.json("mute", "--off", "ci:pay", "--json") == {"muted": ["noisy:pay"]}
    assert shell.ok("mute", "--off", "noisy:pay") == "unmuted noisy:pay\n"


@pytest.mark.parametrize("arguments", [(), ("--off",), ("--list", "ci:pay"), ("--list", "--off")])
def test_mute_wants_addresses_or_list_alone(shell: Shell, arguments: tuple[str, ...]) -> None:
    shell.ok("init")

    assert "name one ADDRESS or more, or use --list alone" in shell.error(2, "mute", *arguments)


def test_mute_refuses_a_bad_address_and_a_missing_bus(shell: Shell) -> None:
    assert "bus.db" in shell.error(3, "mute", "ci:pay")
    shell.ok("init")
    assert "broadcast pattern" in shell.error(2, "mute", "*:pay")
