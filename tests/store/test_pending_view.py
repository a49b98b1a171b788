"""The view `pending` shows unfinished deliveries in words to any SQLite client."""

from __future__ import annotations

import re
from collections.abc import Callable

from raven import BusClient
from tests.support import Foreign, leased, wait_until

Connect = Callable[..., BusClient]


def states(foreign: Foreign) -> list[list[object]]:
    return foreign.execute("SELECT id, state FROM pending ORDER BY id")


def test_it_shows_recipients_and_their_messages(connect: Connect, foreign: Foreign) -> None:
    bus = connect("boss:s")
    bus.send(["a:s", "b:s"], "plan", {"step": 1}, urgency="fyi", expires_in_s=1000)

    rows = foreign.execute("SELECT id, recipient, sender, type, body, urgency, state, attempts FROM pending")

    expected = ["boss:s", "plan", '{"step":1}', "fyi", "sent", 0]
    assert rows == [[1, "a:s", *expected], [1, "b:s", *expected]]
    times = foreign.execute("SELECT created_at, expires_at FROM pending LIMIT 1")[0]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", time) for time in times)


def test_its_order_is_that_of_the_inboxes(connect: Connect, foreign: Foreign) -> None:
    bus = connect("boss:s")
    for to, urgency in [("b:s", "fyi"), ("a:s", "prompt"), ("b:s", "blocking"), ("a:s", "prompt")]:
        bus.send(to, "note", urgency=urgency)

    assert foreign.execute("SELECT recipient, id FROM pending") == [["a:s", 2], ["a:s", 4], ["b:s", 3], ["b:s", 1]]


def test_a_state_has_its_word(connect: Connect, foreign: Foreign) -> None:
    bus = connect("worker:s")
    bus.send("worker:s", "note")
    assert states(foreign) == [[1, "sent"]]

    bus.inbox()
    assert states(foreign) == [[1, "delivered"]]

    bus.send("worker:s", "note", delay_s=1000)
    assert states(foreign) == [[1, "delivered"], [2, "delayed"]]


def test_a_leased_delivery_shows_its_lease(connect: Connect, foreign: Foreign) -> None:
    bus = connect("worker:s")
    bus.send_many([{"to": "worker:s", "type": "note"}] * 100)

    loop = iter(bus.listen())
    in_hand = next(one for one in loop if leased(foreign))

    first_left, *_, last = states(foreign)
    assert first_left == [in_hand.id + 1, "leased"]
    assert last == [100, "sent"]


def test_acked_and_expired_deliveries_are_absent(connect: Connect, foreign: Foreign) -> None:
    bus = connect("worker:s")
    bus.ack(bus.send("worker:s", "note").id)
    bus.send("worker:s", "note", expires_in_s=0.000001)

    # SQL's clock has a resolution of milliseconds.
    wait_until(lambda: states(foreign) == [], "the end of the second")
