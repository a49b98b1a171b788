"""Routes: mail goes where a loop waits, else where its address was used last, and back if its home is elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raven.exchange.values import Home, Outgoing, Returnable
from raven.link.cards import FRESH_S, Card
from raven.link.routes import Routes, Share

X, Y = "worker:s1", "writer:s1"
PRIVATE = "boss+0123456789abcdef:s1"
NOW = 1000.0


def home(seen: int = 0, *, waiting: int = 0, pending: int = 0, used: bool = True) -> Home:
    return Home(seen, waiting, pending, used)


REGISTERED = home(9, used=False)


def card(host: str, at_home: Mapping[str, Home], *, age_s: float = 0.0, is_leaving: bool = False) -> Card:
    return Card(host, f"bus of {host}", 1, "0.4.0", at_home, {}, is_leaving, NOW - age_s)


def cards(**homes: Home) -> dict[str, Card]:
    """Return cards of fresh hosts, each with one address."""
    return {host: card(host, {X: one}) for host, one in homes.items()}


def destination(own: Home | None, others: Mapping[str, Card], address: str = X) -> str | None:
    shares = Routes().share_out([Outgoing(address, 1, None)], {address: own} if own else {}, others, NOW)
    assert len(shares) <= 1
    return shares[0].host if shares else None


WAITS = home(5, waiting=1)
STALE = {"beta": card("beta", {X: home(5, waiting=3)}, age_s=FRESH_S + 1)}
LEAVING = {"beta": card("beta", {X: home(5, waiting=3)}, is_leaving=True)}


@pytest.mark.parametrize(
    ("own", "others", "expected"),
    [
        (None, {}, None),
        (home(1), {}, None),
        (None, cards(beta=REGISTERED), "beta"),
        (WAITS, cards(beta=home(9, waiting=9)), None),
        (home(waiting=1, pending=1000), cards(beta=WAITS), None),
        (home(9), cards(beta=home(1, waiting=1)), "beta"),
        (home(9), cards(beta=home(9), gamma=home(1, waiting=1, pending=1000)), "gamma"),
        (None, cards(beta=home(waiting=1, pending=4), gamma=home(waiting=3, pending=9)), "gamma"),
        (None, cards(beta=home(waiting=1, pending=4), gamma=home(waiting=3, pending=15)), "beta"),
        (home(5), cards(beta=home(5)), None),
        (home(5), cards(beta=home(10)), "beta"),
        (home(10), cards(beta=home(5)), None),
        (None, cards(beta=home(5), gamma=home(10)), "gamma"),
        (None, cards(gamma=home(5), beta=home(5)), "beta"),
        (REGISTERED, cards(beta=REGISTERED._replace(seen=99)), None),
        (REGISTERED, cards(beta=home(1)), "beta"),
        (home(1), cards(beta=REGISTERED), None),
        (home(9), STALE, None),
        (home(1), STALE, "beta"),
        (home(9), LEAVING, None),
        (home(1), LEAVING, "beta"),
        (None, {**STALE, **cards(gamma=home(1, waiting=1))}, "gamma"),
    ],
)
def test_mail_goes_to_the_host_that_is_likely_to_handle_it_first(
    own: Home | None, others: dict[str, Card], expected: str | None
) -> None:
    assert destination(own, others) == expected


def test_a_host_is_alive_up_to_twenty_seconds_after_its_card() -> None:
    for age_s, expected in ((FRESH_S, "beta"), (FRESH_S + 0.1, None)):
        assert destination(home(9), {"beta": card("beta", {X: WAITS}, age_s=age_s)}) == expected


@pytest.mark.parametrize("others", [{}, cards(beta=WAITS), cards(gamma=WAITS), STALE])
def test_a_reply_goes_to_the_host_of_its_question_whatever_the_cards_say(others: dict[str, Card]) -> None:
    shares = Routes().share_out([Outgoing(PRIVATE, 1, "beta"), Outgoing(PRIVATE, 1, None)], {}, others, NOW)

    assert shares == [Share("beta", [PRIVATE], None)]


def test_the_addresses_of_one_host_are_handed_over_together() -> None:
    others = {"beta": card("beta", {X: WAITS, Y: home(3)}), "gamma": card("gamma", {"z:s": WAITS})}
    outgoing = [Outgoing(address, 5, None) for address in (X, "z:s", Y, "unknown:s")]

    assert Routes().share_out(outgoing, {}, others, NOW) == [
        Share("beta", [X, Y], None), Share("gamma", ["z:s"], None),
    ]  # fmt: skip


@settings(max_examples=300, deadline=None, database=None)
@given(
    st.integers(1, 1000),
    st.lists(st.tuples(st.integers(1, 8), st.integers(0, 2000)), min_size=2, max_size=5),
)
def test_the_mail_of_a_pool_is_shared_out_by_the_loops_that_wait(ready: int, pool: list[tuple[int, int]]) -> None:
    names = "abcde"[: len(pool)]
    others = cards(**{n: home(waiting=waiting, pending=p) for n, (waiting, p) in zip(names, pool, strict=True)})

    shares = Routes().share_out([Outgoing(X, ready, None)], {}, others, NOW)

    counts = {share.host: share.max or 0 for share in shares}
    assert sum(counts.values()) == ready
    loads = {
        host: (others[host].at_home[X].pending + counts.get(host, 0), others[host].at_home[X].waiting) for host in names
    }
    portion = -(-ready // 32)
    for host, count in counts.items():
        load, waiting = loads[host]
        # Without its last portion, it had no more deliveries per loop than any other has now.
        assert count > 0
        assert all((load - portion) / waiting <= other / loops + 1e-9 for other, loops in loads.values())


def test_messages_one_by_one_go_round_a_pool_though_no_card_tells_of_them_yet() -> None:
    routes, others = Routes(), cards(beta=WAITS, gamma=WAITS, delta=home(waiting=2))
    counts: Counter[str] = Counter()
    for number in range(80):
        now = NOW + number / 100
        (share,) = routes.share_out([Outgoing(X, 1, None)], {}, others, now)
        routes.handed(share, 1, now)
        counts[share.host] += 1

    assert all(abs(counts[host] - count) <= 4 for host, count in {"beta": 20, "gamma": 20, "delta": 40}.items())


def test_what_went_to_a_host_counts_less_as_its_card_comes_to_tell_it() -> None:
    routes, others = Routes(), cards(beta=WAITS, gamma=home(waiting=1, pending=10))
    (first,) = routes.share_out([Outgoing(X, 1, None)], {}, others, NOW)
    routes.handed(first, 100, NOW)
    assert first.host == "beta"

    assert [share.host for share in routes.share_out([Outgoing(X, 1, None)], {}, others, NOW)] == ["gamma"]
    assert [share.host for share in routes.share_out([Outgoing(X, 1, None)], {}, others, NOW + 1)] == ["beta"]


def test_mail_to_many_pools_takes_no_memory_for_long() -> None:
    routes = Routes()
    for number in range(5000):
        address = f"worker-{number}:s1"
        others = {host: card(host, {address: WAITS}) for host in ("beta", "gamma")}
        now = NOW + number / 1000
        for share in routes.share_out([Outgoing(address, 2, None)], {}, others, now):
            routes.handed(share, 1, now)

    assert len(routes._lately) <= 1001


def test_a_share_of_which_nothing_was_handed_over_does_not_count() -> None:
    routes, others = Routes(), cards(beta=WAITS, gamma=WAITS)
    for _ in range(3):
        (share,) = routes.share_out([Outgoing(X, 1, None)], {}, others, NOW)
        routes.handed(share, 0, NOW)
        assert share.host == "beta"


def returned(routes: Routes, own: Home | None, others: Mapping[str, Card], at_s: float) -> list[str]:
    fresh = {host: one._replace(heard_at=one.heard_at + at_s) for host, one in others.items()}
    return routes.to_give_back([Returnable(X, 3)], {X: own} if own else {}, fresh, NOW + at_s)


@pytest.mark.parametrize(
    ("own", "others", "is_returned"),
    [
        (home(9), cards(beta=WAITS), True),
        (None, cards(beta=home(1)), True),
        (home(1), cards(beta=home(9)), True),
        (home(9), cards(beta=home(9)), False),
        (REGISTERED, cards(beta=REGISTERED._replace(seen=99)), False),
        (WAITS, cards(beta=WAITS), False),
        (home(1), {}, False),
        (home(1), STALE, False),
        (home(1), LEAVING, False),
    ],
)
def test_mail_goes_back_once_its_home_was_elsewhere_for_five_seconds(
    own: Home | None, others: dict[str, Card], is_returned: bool
) -> None:
    routes = Routes()
    for at_s in (0.0, 1.0, 4.9):
        assert returned(routes, own, others, at_s) == []

    assert returned(routes, own, others, 5.0) == ([X] if is_returned else [])


def test_the_five_seconds_begin_anew_when_the_home_was_here_in_between() -> None:
    routes, others = Routes(), cards(beta=WAITS)
    assert returned(routes, None, others, 0.0) == []
    assert returned(routes, WAITS, others, 3.0) == []
    assert returned(routes, None, others, 4.0) == []
    assert returned(routes, None, others, 8.9) == []
    assert returned(routes, None, others, 9.0) == [X]


def test_mail_that_is_gone_does_not_count_for_mail_that_comes_later() -> None:
    routes, others = Routes(), cards(beta=WAITS)
    assert returned(routes, None, others, 0.0) == []
    assert routes.to_give_back([], {}, others, NOW + 3) == []
    assert returned(routes, None, others, 6.0) == []


def test_doors_are_hung_where_mail_would_leave() -> None:
    own = {"stays:s": WAITS, "mine:s": home(9), "both:s": home(1)}
    others = {
        "beta": card("beta", {"stays:s": WAITS, "mine:s": home(5), "both:s": home(5), "theirs:s": WAITS}),
        "gamma": card("gamma", {"asleep:s": WAITS, "theirs:s": home(5)}, age_s=60),
    }

    assert Routes().doors(own, others, NOW) == {"both:s": False, "theirs:s": True, "asleep:s": False}
