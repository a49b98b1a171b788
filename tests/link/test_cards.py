"""Cards: a host's addresses and confirmations arrive as they were told; whatever else comes is counted and ignored."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raven import __version__
from raven.exchange.values import Confirmation, Home
from raven.link import cards
from raven.link.cards import FRESH_S, Card, Cards, Written, rounded, write
from raven.link.envelope import ROOM

BUS = "5b7a"
STEP_US = 5_000_000
PAYLOAD = 1 << 20
X = "worker:s1"
HOME = {X: Home(10 * STEP_US, 1, 3, True), "writer:s1": Home(0, 0, 0, False)}
RECEIVED = {"beta": Confirmation(1, 2, 3), "gamma": Confirmation((1 << 62) - 1, 0, 0)}


PART = st.text(st.characters(categories=["L", "N", "P", "S"], exclude_characters=":*+"), min_size=1, max_size=9)


def put(known: Cards, written: Written, now: float = 0.0) -> Card | None:
    """Let all values of a card be heard; return the result of the last one."""
    results = [known.hear(key, data, now) for key, data in written.pages.items()]
    return results[-1]


def card(home: Mapping[str, Home] = HOME, *, host: str = "alpha", bus: str = BUS, payload: int = PAYLOAD) -> Written:
    return write(host, bus, home, RECEIVED, payload)


def head(**changes: Any) -> bytes:
    value = {"v": 1, "bus": BUS, "raven": "0.4.0", "received": {}, "at_home": {}, **changes}
    return json.dumps({key: one for key, one in value.items() if one is not ...}).encode()


@settings(max_examples=100, deadline=None, database=None)
@given(
    st.dictionaries(
        st.builds("{}:{}".format, PART, PART),
        st.builds(Home, st.integers(0, 1 << 53), st.integers(0, 99), st.integers(0, 1 << 40), st.booleans()),
        max_size=60,
    ),
    st.integers(1100, 4000),
)  # fmt: skip
def test_a_card_arrives_as_it_was_written_in_pages_or_not(home: dict[str, Home], room: int) -> None:
    told = rounded(home, 0)
    written = card(told, payload=ROOM + room)
    known = Cards("beta")

    assert all(len(data) <= room for data in written.pages.values())
    heard = put(known, written, 7.0)
    assert written.left_out == 0
    assert known.dropped == Counter()
    assert heard == known.hosts["alpha"] == Card("alpha", BUS, 1, __version__, told, RECEIVED, False, 7.0)


def test_times_are_told_in_steps_of_the_servers_clock() -> None:
    home = {X: Home(12_345_678, 0, 0, True)}

    assert rounded(home, 0)[X].seen == 10_000_000
    assert rounded(home, 2_700_000)[X].seen == 15_000_000
    assert rounded(home, -60_000_000)[X].seen == 0
    known = Cards("beta")
    put(known, card(rounded(home, 2_700_000)))
    assert known.hosts["alpha"].local_home(-1_000_000)[X].seen == 16_000_000


def test_deliveries_that_the_waiting_loops_can_take_at_once_do_not_change_a_card() -> None:
    told = {(waiting, pending): rounded({X: Home(0, waiting, pending, True)}, 0)[X].pending
            for waiting in (0, 1, 4) for pending in (0, 1, 4, 5, 9, 1000, 1001)}  # fmt: skip

    assert [told[0, pending] for pending in (0, 1, 4, 5, 9, 1000, 1001)] == [0, 1, 4, 5, 8, 896, 896]
    assert [told[1, pending] for pending in (0, 1, 4)] == [0, 0, 4]
    assert [told[4, pending] for pending in (0, 1, 4, 5)] == [0, 0, 0, 5]


def many(count: int) -> dict[str, Home]:
    return {f"worker-{i:05}:swarm-{i % 97}": Home(i * STEP_US, 0, 0, True) for i in range(count)}


def test_a_change_in_one_session_leaves_the_pages_of_others_as_they_are() -> None:
    home = many(5000)
    before = card(home, payload=ROOM + 40_000)
    address = "worker-00000:swarm-0"
    after = card({**home, address: home[address]._replace(waiting=8)}, payload=ROOM + 40_000)

    assert 3 < len(before.pages) == len(after.pages)
    assert list(after.pages)[-1] == "alpha"
    changed = [key for key, data in after.pages.items() if before.pages[key] != data]
    assert len(changed) == 2
    assert "alpha" in changed


def test_a_session_too_large_for_a_page_is_told_on_several() -> None:
    home = {f"worker-{i}:s1": Home(0, 0, 0, True) for i in range(1000)}
    written = card(home, payload=ROOM + 5000)
    known = Cards("beta")
    put(known, written)

    assert all(len(data) <= 5000 for data in written.pages.values())
    assert known.hosts["alpha"].at_home == home


def test_a_card_with_too_many_addresses_tells_of_those_that_matter_most() -> None:
    home = many(3000)
    waiting = {address: home[address]._replace(waiting=1) for address in list(home)[:10]}
    written = card({**home, **waiting}, payload=ROOM + 5000)
    known = Cards("beta")
    put(known, written)

    told = known.hosts["alpha"].at_home
    assert len(told) == 3000 - written.left_out < 2000
    assert set(told) == {*waiting, *list(home)[-(len(told) - 10) :]}


def test_a_page_that_is_missing_leaves_the_former_addresses_and_lets_confirmations_through() -> None:
    known = Cards("beta")
    put(known, card())
    pages = card(many(3000), payload=ROOM + 40_000).pages
    lost = next(iter(pages))
    for key, data in pages.items():
        if key != lost:
            known.hear(key, data, 5.0)

    heard = known.hosts["alpha"]
    assert (heard.at_home, heard.received, heard.heard_at) == (HOME, RECEIVED, 5.0)
    assert known.incomplete() == {"alpha"}

    complete = known.hear(lost, pages[lost], 6.0)
    assert complete is not None
    assert complete.at_home == many(3000)
    assert known.incomplete() == set()

    put(known, card(), 7.0)
    assert known.hosts["alpha"].at_home == HOME
    assert known._pages == {"alpha": {}}


def test_a_bus_that_takes_the_name_of_another_does_not_get_its_addresses() -> None:
    known = Cards("beta")
    put(known, card())
    known.hear("alpha", card(many(3000), bus="other", payload=ROOM + 40_000).pages["alpha"], 1.0)

    assert (known.hosts["alpha"].bus_id, known.hosts["alpha"].at_home) == ("other", {})


def test_a_page_with_what_another_card_had_there_does_not_count() -> None:
    known = Cards("beta")
    old, new = card(many(3000), payload=ROOM + 40_000), card(many(2990), payload=ROOM + 40_000)
    put(known, old)
    assert old.pages["alpha.1"] != new.pages["alpha.1"]

    known.hear("alpha", new.pages["alpha"], 1.0)
    assert known.hosts["alpha"].at_home == many(3000)
    put(known, new, 2.0)
    assert known.hosts["alpha"].at_home == many(2990)


def test_the_addresses_of_a_card_are_the_same_object_until_one_changes() -> None:
    known = Cards("beta")
    put(known, card(), 1.0)
    first = known.hosts["alpha"]
    put(known, card(), 2.0)
    second = known.hosts["alpha"]
    put(known, card({**HOME, X: HOME[X]._replace(waiting=0)}), 3.0)

    assert second.at_home is first.at_home
    assert (first.heard_at, second.heard_at) == (1.0, 2.0)
    assert known.hosts["alpha"].at_home[X].waiting == 0


def test_a_host_is_alive_for_twenty_seconds_and_not_once_its_relay_has_ended() -> None:
    known = Cards("beta")
    put(known, card(), 100.0)
    known.hear("gamma", head(), 100.0, age_s=15.0)

    def fresh(now: float) -> set[str]:
        return {host for host, one in known.hosts.items() if one.is_fresh(now)}

    assert fresh(105.0) == {"alpha", "gamma"}
    assert fresh(105.1) == {"alpha"}
    assert fresh(100.0 + FRESH_S) == {"alpha"}
    assert fresh(100.1 + FRESH_S) == set()

    put(known, write("alpha", BUS, HOME, {}, PAYLOAD, is_leaving=True), 101.0)
    assert fresh(101.0) == {"gamma"}
    assert known.hosts["alpha"].at_home == {address: one._replace(waiting=0) for address, one in HOME.items()}


def test_a_card_that_was_read_late_does_not_replace_a_later_one() -> None:
    known = Cards("beta")
    put(known, card(), 100.0)

    assert known.hear("alpha", head(), 100.5, age_s=2.0) is None
    assert known.hosts["alpha"].at_home == HOME
    assert known.hear("alpha", head(), 100.5, age_s=0.1) is not None
    assert known.hosts["alpha"].at_home == {}


def test_a_deleted_card_is_forgotten() -> None:
    known = Cards("beta")
    put(known, card(many(3000), payload=ROOM + 40_000))
    put(known, card(host="beta"))
    known.hear("alpha.1", None, 1.0)
    assert known.hosts.keys() == {"alpha"}

    known.hear("alpha", None, 1.0)
    known.hear("beta", None, 1.0)
    assert (known.hosts, known.own, known.incomplete()) == ({}, None, set())


def test_a_card_of_another_relay_with_this_host_s_name_or_bus_is_a_clash() -> None:
    known = Cards("alpha")
    other, copy = put(known, card(bus="mine"), 0.0), put(known, card(host="beta", bus="mine"), 0.0)
    leaving = put(known, write("alpha", "mine", HOME, RECEIVED, PAYLOAD, is_leaving=True), 0.0)
    assert other
    assert copy
    assert leaving

    assert known.clash(other, "mine", "") is None
    assert known.clash(leaving, "theirs", "") is None
    assert known.clash(copy, "theirs", "") is None
    assert str(known.clash(other, "mine", "2")).startswith("another relay links a copy of this bus now: stop the relay")
    assert str(known.clash(copy, "mine", "")).startswith("the host beta links a copy of this bus now: stop the relay")
    assert str(known.clash(other, "theirs", "")).startswith("another bus is linked as alpha now: choose another link.n")


@pytest.mark.parametrize(
    ("key", "data", "reason"),
    [
        ("", head(), "a key of no host"),
        ("Alpha", head(), "a key of no host"),
        ("alpha.", head(), "a key of no host"),
        ("alpha.0", head(), "a key of no host"),
        ("alpha.01", head(), "a key of no host"),
        ("alpha.17", head(), "a key of no host"),
        ("alpha.1.2", head(), "a key of no host"),
        ("a" * 41, head(), "a key of no host"),
        ("alpha.17", None, "a key of no host"),
        ("alpha", bytes((8 << 20) + 1), "a card too long"),
        *[
            ("alpha", data, "a malformed card")
            for data in (
                b"", b"{", b"[]", b"5", b"\xff", b"[" * 100_000, head(v=...), head(v=0), head(v=True), head(v="1"),
                head(bus=...), head(bus=""), head(bus="x" * 65), head(bus=5), head(raven="x" * 65), head(at_home=[]),
                head(at_home={X: [1, 2, 3]}), head(at_home={X: [1] * 17}), head(at_home={X: [1, 2, -3, 4]}),
                head(at_home={X: [1, 2.5, 3, 4]}), head(at_home={X: [True, 2, 3, 4]}), head(at_home={X: None}),
                head(at_home={X: [1 << 62, 0, 0, 0]}), head(received={"beta": [1, 2]}), head(received=[]),
                head(pages=["a"] * 17), head(pages=[5]), head(leaving=1), b'{"v":1,"bus":"\\ud800"}',
            )
        ],
        ("alpha.1", b'{"at_home":[]}', "a malformed card"),
    ],
)  # fmt: skip
def test_a_value_that_is_no_card_is_counted_and_leaves_the_known_one(key: str, data: bytes | None, reason: str) -> None:
    known = Cards("beta")
    put(known, card(), 1.0)
    before = known.hosts["alpha"]

    assert known.hear(key, data, 2.0) is None
    assert known.dropped == {reason: 1}
    assert known.hosts == {"alpha": before}


def test_addresses_that_no_host_may_show_are_left_out_and_counted() -> None:
    known = Cards("beta")
    bad = ["", "x", "*:s1", "a:*", "a:b:c", "a\n:s", " a:s", "a" * 512 + ":s", "boss+0123456789abcdef:s1"]
    heard = known.hear("alpha", head(at_home={address: [1, 0, 0, 1] for address in (*bad, X)}), 1.0)

    assert heard is not None
    assert heard.at_home.keys() == {X}
    assert known.dropped == {"a malformed address": len(bad) - 1, "a private address": 1}


def test_a_flood_of_addresses_is_cut_by_host_and_counted_and_no_card_shows_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert cards.MAX_ADDRESSES == 50_000
    home, written = many(100), card(many(100))
    paged = card(many(100), payload=ROOM + 2000)
    assert len(paged.pages) > 2
    assert paged.left_out == 0
    monkeypatch.setattr(cards, "MAX_ADDRESSES", 70)

    for flood in (written, paged):  # on one page, and on several with fewer addresses each
        known = Cards("beta")
        put(known, flood)
        assert len(known.hosts["alpha"].at_home) == 70
        assert known.hosts["alpha"].at_home.items() <= home.items()
        assert known.dropped == {"an address too many": 30}
        put(known, card(host="gamma"))
        assert known.hosts["gamma"].at_home == HOME

    told, known = card({**home, **HOME}), Cards("beta")
    put(known, told)
    assert (told.left_out, known.dropped) == (len(home) + len(HOME) - 70, {})
    assert X in known.hosts["alpha"].at_home


def test_a_card_of_a_later_raven_is_read_as_far_as_it_is_understood() -> None:
    known = Cards("beta")
    later = head(v=7, at_home={X: [5, 1, 2, 1, 99]}, received={"beta": [1, 2, 3, 4], "Odd name": [1, 2, 3]}, new=[{}])
    heard = known.hear("alpha", later, 1.0)

    assert heard is not None
    assert (heard.version, heard.at_home) == (cards.WIRE_VERSION, {X: Home(STEP_US, 1, 2, True)})
    assert heard.received == {"beta": Confirmation(1, 2, 3)}


@settings(max_examples=300, deadline=None, database=None)
@given(st.text(max_size=12) | st.sampled_from(["alpha", "alpha.1", "beta"]), st.none() | st.binary(max_size=200))
def test_no_key_and_no_bytes_raise_an_error(key: str, data: bytes | None) -> None:
    known = Cards("beta")

    assert known.hear(key, data, 1.0) is None
    assert (known.hosts, known.own) == ({}, None)


def test_a_long_card_is_told_less_often() -> None:
    assert card().pause_s == 0.25
    assert 1.0 < card(many(10_000)).pause_s < 3.0
    assert card(many(60_000)).pause_s == 5.0
