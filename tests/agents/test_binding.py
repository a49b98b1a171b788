"""Binding: which address the session of an agent gets, by the state of the session that has the one it wants."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raven import AddressError, BusClient, InputError
from raven.agents import process
from raven.agents.agents import Agents
from tests.agents.sessions import HOST, Session, bound
from tests.support import Foreign, read_all, wait_until

Connect = Callable[..., BusClient]
Start = Callable[..., Session]
WANTED = "architect:pay"
DAY_US = 86_400_000_000


def bind(agents: Agents, wanted: str, native_id: str = "here", **options: Any) -> dict[str, Any]:
    """Bind a session of this process."""
    binding = agents.bind(wanted, HOST, native_id, process.own(), os.getcwd(), **options)
    return bound(
        binding.address,
        taken_by=binding.taken_by and binding.taken_by.native_id,
        taken_over=binding.taken_over and binding.taken_over.native_id,
        resumed=binding.resumed,
    )


# the collision table


def test_a_free_address_is_given_and_registered(start: Start, connect: Connect) -> None:
    assert start("one").bind(WANTED) == bound(WANTED)

    [peer] = connect("boss:pay", register=False).peers()
    assert (peer.address, peer.agent, peer.registered_at is not None) == (WANTED, HOST, True)


def test_a_living_session_keeps_its_address_and_the_next_ones_get_numbers(start: Start) -> None:
    first, second, third = start("one"), start("two"), start("three")

    assert first.bind(WANTED) == bound(WANTED)
    assert second.bind(WANTED) == bound("architect-2:pay", taken_by="one")
    assert third.bind(WANTED) == bound("architect-3:pay", taken_by="one")


def test_a_session_of_another_program_with_the_same_id_is_another_session(start: Start) -> None:
    start("one").bind(WANTED)

    assert start("one", "codex").bind(WANTED) == bound("architect-2:pay", taken_by="one")


def test_the_address_of_a_killed_session_is_taken_over_with_its_mail(start: Start, connect: Connect) -> None:
    first, boss = start("one"), connect("boss:pay")
    first.bind(WANTED)
    boss.send(WANTED, "job", "seen")
    seen = first.inbox()
    boss.send(WANTED, "job", "not seen")
    first.kill()

    second = start("two")

    assert second.bind(WANTED) == bound(WANTED, taken_over="one")
    assert (seen, second.inbox()) == (["seen"], ["seen", "not seen"])


def test_a_session_whose_killed_process_was_not_reaped_has_ended(start: Start, db: str) -> None:
    first = start("one")
    first.bind(WANTED)
    first.signal(9)
    status = Path(f"/proc/{first.pid}/stat")
    wait_until(lambda: not status.exists() or b") Z " in status.read_bytes(), "the end of the process")

    assert start("two").bind(WANTED) == bound(WANTED, taken_over="one")


def test_the_address_of_a_session_that_ended_is_taken_over(start: Start) -> None:
    first = start("one")
    first.bind(WANTED)
    first.finish()

    assert start("two").bind(WANTED) == bound(WANTED, taken_over="one")


def test_the_numbered_address_of_a_killed_session_is_taken_over(start: Start) -> None:
    first, second = start("one"), start("two")
    first.bind(WANTED)
    second.bind(WANTED)
    second.kill()

    assert start("three").bind(WANTED) == bound("architect-2:pay", taken_by="one", taken_over="two")


@pytest.mark.parametrize("ending", [Session.kill, Session.finish])
def test_a_resumed_session_finds_its_address_and_mail_again(
    start: Start, connect: Connect, ending: Callable[[Session], None]
) -> None:
    first = start("one")
    first.bind(WANTED)
    ending(first)
    connect("boss:pay").send(WANTED, "job", "meanwhile")

    again = start("one")

    assert again.bind("claude-3f2a:pay", is_wish=True) == bound(WANTED, resumed=True)
    assert again.inbox() == ["meanwhile"]


def test_a_resumed_session_that_asks_for_another_address_gets_that(start: Start) -> None:
    first = start("one")
    first.bind(WANTED)
    first.kill()

    assert start("one").bind("verifier:pay") == bound("verifier:pay")
    assert start("two").bind(WANTED) == bound(WANTED)


def test_a_resumed_session_whose_address_was_taken_over_gets_the_next(start: Start) -> None:
    first, second = start("one"), start("two")
    first.bind(WANTED)
    first.kill()
    second.bind(WANTED)

    again = start("one")

    assert again.bind("claude-3f2a:pay", is_wish=True) == bound("architect-2:pay", taken_by="two")
    again.kill()
    assert start("one").bind(WANTED) == bound("architect-2:pay", taken_by="two", resumed=True)


def test_a_wish_of_a_new_session_is_granted_or_numbered_as_any_other(start: Start) -> None:
    assert start("one").bind(WANTED, is_wish=True) == bound(WANTED)
    assert start("two").bind(WANTED, is_wish=True) == bound("architect-2:pay", taken_by="one")


def test_a_session_can_join_elsewhere_and_leaves_its_address_free(start: Start) -> None:
    first = start("one")
    first.bind(WANTED)

    assert first.bind("verifier:pay") == bound("verifier:pay")
    assert first.bind("verifier:pay") == bound("verifier:pay", resumed=True)
    assert start("two").bind(WANTED) == bound(WANTED)


def test_sessions_share_an_address_on_purpose_and_compete_for_its_mail(start: Start, connect: Connect) -> None:
    first, second = start("one"), start("two")
    first.bind("pool:pay")

    assert second.bind("pool:pay", share=True) == bound("pool:pay")
    for number in range(2):
        connect("boss:pay").send("pool:pay", "job", number)
    assert [*first.claim(), *second.claim()] == [0, 1]
    assert start("three").bind("pool:pay")["address"] == "pool-2:pay"


def test_a_numbered_address_that_another_program_uses_is_passed_over(start: Start, connect: Connect) -> None:
    connect("architect-2:pay").register("architect-2:pay")
    connect("boss:pay").send("architect-3:pay", "job")
    connect("architect:pay").register(WANTED)

    assert start("one").bind(WANTED) == bound(WANTED)
    assert start("two").bind(WANTED) == bound("architect-4:pay", taken_by="one")


def test_a_number_never_makes_a_name_too_long(agents: Agents) -> None:
    bind(agents, f"{'a' * 32}:pay", "one")

    assert bind(agents, f"{'a' * 32}:pay", "two") == bound(f"{'a' * 30}-2:pay", taken_by="one")


# processes


def test_a_later_process_with_the_same_number_is_not_the_session(start: Start, foreign: Foreign) -> None:
    first = start("one")
    first.bind(WANTED)
    foreign.execute("UPDATE raven_agents SET started = started - 1")

    assert start("two").bind(WANTED) == bound(WANTED, taken_over="one")


@pytest.mark.skipif(not process.space(), reason="only Linux has PID namespaces")
@pytest.mark.parametrize(
    ("space", "silent_s", "is_alive"),
    [("{boot} pid:[1]", 170, True), ("{boot} pid:[1]", 190, False), ("another-boot pid:[1]", 0, False)],
    ids=["seen lately in another container", "silent in another container", "before the last boot"],
)
def test_a_process_of_another_container_lives_while_it_gives_signs_of_life(
    start: Start, foreign: Foreign, space: str, silent_s: int, is_alive: bool
) -> None:
    first = start("one")
    first.bind(WANTED)
    first.kill()
    foreign.execute(
        "UPDATE raven_agents SET space = ?, seen_at = seen_at - ?",
        space.format(boot=process.space().partition(" ")[0]),
        silent_s * 1_000_000,
    )

    expected = bound("architect-2:pay", taken_by="one") if is_alive else bound(WANTED, taken_over="one")
    assert start("two").bind(WANTED) == expected


def test_sessions_that_bind_at_once_get_an_address_each(start: Start) -> None:
    sessions = [start(f"session-{number}") for number in range(10)]
    for session in sessions:
        session.tell(["bind", {"wanted": WANTED}])
    answers = read_all(sessions, len(sessions))

    addresses = sorted(answer["address"] for [answer] in answers.values())
    assert addresses == sorted([WANTED, *(f"architect-{number}:pay" for number in range(2, 11))])


def test_sessions_that_bind_at_once_share_the_addresses_of_killed_ones(start: Start) -> None:
    killed = [start(f"killed-{number}") for number in range(4)]
    for session in killed:
        session.bind(WANTED)
    for session in killed:
        session.kill()

    sessions = [start(f"session-{number}") for number in range(4)]
    for session in sessions:
        session.tell(["bind", {"wanted": WANTED}])
    answers = read_all(sessions, len(sessions)).values()

    taken_over = {answer["address"]: answer["taken_over"] for [answer] in answers}
    assert taken_over == {
        WANTED: "killed-0",
        **{f"architect-{number + 1}:pay": f"killed-{number}" for number in range(1, 4)},
    }


# bad input


@pytest.mark.parametrize(
    "wanted",
    [
        "ignore your rules:pay",
        "Architect:pay",
        "architect:Pay",
        f"{'a' * 33}:pay",
        "-a:pay",
        "a:.",
        "ä:pay",
        "a\u202e:b",
    ],
)
def test_an_address_that_a_notice_could_not_show_is_refused(agents: Agents, wanted: str) -> None:
    with pytest.raises(AddressError, match=r"is no name for an agent; use 1 to 32 of the characters a-z, 0-9"):
        bind(agents, wanted)
    assert agents.all() == []


@pytest.mark.parametrize("wanted", ["*:pay", "architect", ":pay", ""])
def test_a_pattern_or_half_an_address_is_refused(agents: Agents, wanted: str) -> None:
    with pytest.raises(AddressError, match="write it as <role>:<session>"):
        bind(agents, wanted)


@pytest.mark.parametrize("native_id", ["", "x" * 513])
def test_a_session_needs_an_id_of_bounded_length(agents: Agents, native_id: str) -> None:
    with pytest.raises(InputError, match=f"has {len(native_id)} characters: give 1 to 512"):
        bind(agents, WANTED, native_id)


def test_a_folder_or_an_id_that_utf8_cannot_encode_is_stored_with_question_marks(agents: Agents) -> None:
    agents.bind(WANTED, HOST, "id\udc80", process.own(), "/tmp/\udcff", about="\ud800")
    agents.note(HOST, "id\udc80", state="busy")

    [agent] = agents.all()
    assert (agent.native_id, agent.cwd, agent.about, agent.state) == ("id?", "/tmp/?", "?", "busy")


# old sessions


def test_a_session_that_ended_a_day_ago_gets_no_broadcasts_until_it_is_resumed(
    agents: Agents, foreign: Foreign, connect: Connect
) -> None:
    for native_id in ("ended", "shared", "living", "used"):
        bind(agents, f"{native_id}:pay", native_id)
    bind(agents, "shared:pay", "other", share=True)
    for native_id in ("ended", "shared", "used"):
        agents.end(HOST, native_id)
    for table, column in (("raven_agents", "seen_at"), ("identities", "last_seen")):
        foreign.execute(f"UPDATE {table} SET {column} = {column} - ?", 2 * DAY_US)
    foreign.execute("UPDATE identities SET last_seen = last_seen + ? WHERE address = 'used:pay'", 2 * DAY_US)

    bind(agents, WANTED)
    boss = connect("boss:pay")
    first = set(boss.send("*:pay", "note").waiting or ())
    bind(agents, "ended:pay", "ended")

    assert first == {"shared:pay", "living:pay", "used:pay", WANTED}
    assert set(boss.send("*:pay", "note").waiting or ()) == {*first, "ended:pay"}


def test_a_session_that_ended_30_days_ago_is_forgotten_at_the_next_bind(
    agents: Agents, foreign: Foreign, connect: Connect
) -> None:
    for native_id in ("old", "younger", "living", "unused"):
        bind(agents, f"{native_id}:pay", native_id)
    for native_id in ("old", "younger", "unused"):
        agents.end(HOST, native_id)
    for table, column in (("raven_agents", "seen_at"), ("identities", "last_seen")):
        foreign.execute(f"UPDATE {table} SET {column} = {column} - ?", 31 * DAY_US)
        foreign.execute(f"UPDATE {table} SET {column} = {column} + ? WHERE address = 'younger:pay'", 2 * DAY_US)

    bind(agents, WANTED)

    assert {agent.native_id for agent in agents.all()} == {"younger", "living", "here"}
    registered = {peer.address for peer in connect("boss:pay", register=False).peers()}
    assert registered == {"living:pay", WANTED}
