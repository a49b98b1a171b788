"""Spoils: each makes a history, in which all went well, into one in which something did not."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import assume

from scripts.stress.outcome import Kind
from scripts.tests.history_builder import AUTO, LEASE_S, LEDGER, MANUAL, Tale, replace

Spoil = Callable[[Tale], None]


def good() -> Tale:
    """Return a tale of sends, receipts, acks, a transaction and two deaths, in which every promise is kept."""
    tale = Tale()
    tale.send(AUTO)  # 1
    tale.send(AUTO)  # 2
    tale.send(AUTO, urgency="blocking")  # 3
    tale.send(MANUAL, MANUAL, MANUAL)  # 4, 5, 6
    tale.send((AUTO, MANUAL, LEDGER), urgency="fyi", key="k")  # 7
    tale.send(LEDGER)  # 8
    for _ in range(2):
        tale.take("auto.1")
    tale.kill("auto.1")  # loses 2, has not come to 7
    for life in ("manual.1", "ledger.1"):
        id = tale.take(life)
        assert id is not None
        tale.finish(life, id)
    assert tale.take("manual.1") == 5
    tale.kill("manual.1")
    tale.lapse()
    assert tale.take("manual.2") == 5
    tale.finish("manual.2", 5)
    return tale


def lose_a_message(tale: Tale) -> None:
    tale.messages.remove(tale.messages[7])
    tale.deliveries = [one for one in tale.deliveries if one.message != 8]
    tale.effects = [row for row in tale.effects if row[0] != 8]
    tale.events = [event for event in tale.events if event.told.get("id") != 8 and event.life != "ledger.1"]


def lose_a_delivery_of_a_broadcast(tale: Tale) -> None:
    tale.deliveries.pop(tale.place(LEDGER, 7))


def lose_the_message_and_keep_its_delivery(tale: Tale) -> None:
    tale.messages.pop(5)


def store_twice(tale: Tale) -> None:
    tale.messages.append(replace(tale.messages[0], id=9))
    tale.deliveries.append(replace(tale.deliveries[0], message=9))


def store_a_key_twice(tale: Tale) -> None:
    tale.messages.append(replace(tale.messages[6], id=9, token="other"))


def answer_with_another_id(tale: Tale) -> None:
    tale.retell(tale.event("sent", ids=[1]), ids=[2])


def change_a_body_in_the_bus(tale: Tale) -> None:
    tale.messages[0] = replace(tale.messages[0], digest="other")


def deliver_to_a_stranger(tale: Tale) -> None:
    tale.deliveries.append(replace(tale.deliveries[0], recipient="stranger:s"))


def store_what_nobody_sent(tale: Tale) -> None:
    tale.messages.append(replace(tale.messages[0], id=9, token="from nowhere"))


def store_what_was_refused(tale: Tale) -> None:
    place = tale.event("sent", ids=[6 + 2])
    call = tale.events[place].told["call"]
    tale.events[place] = tale.events[place]._replace(what="refused", told={"call": call, "error": "BusyError"})


def store_half_of_many(tale: Tale) -> None:
    place = tale.event("sent", ids=[4, 5, 6])
    tale.events.pop(place)  # the sender was killed in it
    tale.messages.pop(5)
    tale.deliveries.pop(tale.place(MANUAL, 6))


def number_many_backwards(tale: Tale) -> None:
    first, last = tale.messages[3], tale.messages[5]
    tale.messages[3], tale.messages[5] = replace(last, id=4), replace(first, id=6)


def number_a_later_one_lower(tale: Tale) -> None:
    tale.messages[0], tale.messages[1] = replace(tale.messages[1], id=1), replace(tale.messages[0], id=2)
    first, second = tale.event("sent", ids=[1]), tale.event("sent", ids=[2])
    tale.retell(first, ids=[2])
    tale.retell(second, ids=[1])


def receive_what_is_not_there(tale: Tale) -> None:
    tale.retell(tale.event("received", id=1), id=99)


def receive_what_went_to_others(tale: Tale) -> None:
    tale.retell(tale.event("received", id=1), id=8, token=tale.messages[7].token, digest=tale.messages[7].digest)


def receive_another_body(tale: Tale) -> None:
    tale.retell(tale.event("received", id=4), digest="other")


def receive_again_with_automatic_acks(tale: Tale) -> None:
    again = tale.events[tale.event("received", id=1)]
    tale.events.append(again._replace(at=tale.now + 1))


def lose_one_more_in_a_death(tale: Tale) -> None:
    tale.change(AUTO, 7, state="acked", finished_wall=tale.deliveries[tale.place(AUTO, 2)].finished_wall)


def lose_without_a_death(tale: Tale) -> None:
    tale.retell(tale.event("ended", life="auto.1"), code=0)


def lose_before_the_hands_that_die(tale: Tale) -> None:
    tale.change(AUTO, 2, finished_wall=1000.0)


def die_of_attempts_with_automatic_acks(tale: Tale) -> None:
    tale.change(AUTO, 7, state="dead")


def ack_what_no_consumer_has_acked(tale: Tale) -> None:
    tale.change(MANUAL, 6, state="acked")


def forget_an_ack(tale: Tale) -> None:
    tale.change(MANUAL, 4, state="delivered")


def die_before_the_last_attempt(tale: Tale) -> None:
    tale.change(MANUAL, 6, state="dead", attempts=1)


def expire(tale: Tale) -> None:
    tale.change(MANUAL, 6, state="expired")


def count_no_attempt(tale: Tale) -> None:
    tale.change(MANUAL, 5, attempts=1)


def hand_out_after_the_ack(tale: Tale) -> None:
    tale.change(MANUAL, 4, attempts=2)
    told = tale.events[tale.event("received", id=4)].told
    tale.tell("manual.2", "asking")
    tale.tell("manual.2", "received", **{**told, "attempts": 2, "lease": 77})


def ack_under_two_leases(tale: Tale) -> None:
    call = tale.call()
    tale.tell("manual.2", "acking", call=call, id=4, lease=77)
    tale.tell("manual.2", "acked", call=call)


def hand_out_to_two_at_once(tale: Tale) -> None:
    for place in range(tale.event("ended", life="manual.1"), len(tale.events)):
        tale.events[place] = tale.events[place]._replace(at=tale.events[place].at - LEASE_S)


def count_two_attempts_as_one(tale: Tale) -> None:
    for place, event in enumerate(tale.events):
        if event.what == "received" and event.told["id"] == 5:
            tale.retell(place, attempts=1)


def have_an_effect_twice(tale: Tale) -> None:
    tale.effects.append(tale.effects[0])


def have_no_effect(tale: Tale) -> None:
    tale.effects.clear()


def have_an_effect_without_the_ack(tale: Tale) -> None:
    tale.effects.append((7, "ledger.1"))


def have_the_effect_of_another(tale: Tale) -> None:
    tale.effects[0] = (8, "ledger.2")


def have_an_effect_of_a_stranger(tale: Tale) -> None:
    tale.effects.append((1, "ledger.1"))


def hand_out_the_later_first(tale: Tale) -> None:
    swap(tale, 4, 5)


def hand_out_the_less_urgent_first(tale: Tale) -> None:
    swap(tale, 3, 1)


def fail(tale: Tale) -> None:
    tale.tell("manual.2", "failed", error="OSError")


def swap(tale: Tale, one: int, other: int) -> None:
    """Let two messages come in each other's place."""
    first, second = tale.event("received", id=one), tale.event("received", id=other)
    a, b = tale.events[first], tale.events[second]
    tale.events[first], tale.events[second] = a._replace(told=b.told), b._replace(told=a.told)


SPOILED: list[tuple[Spoil, Kind, str]] = [
    (lose_a_message, "lost", "and is not in the bus"),
    (lose_a_delivery_of_a_broadcast, "lost", "has no delivery to ledger:s"),
    (lose_the_message_and_keep_its_delivery, "lost", "has deliveries, and is not in the bus itself"),
    (store_twice, "duplicated", "is in the bus 2 times"),
    (store_a_key_twice, "duplicated", "k of producer:s is in the bus as"),
    (answer_with_another_id, "broken", "which is t"),
    (change_a_body_in_the_bus, "broken", "is not in the bus as it was sent"),
    (deliver_to_a_stranger, "duplicated", "instead of ['auto:s']"),
    (store_what_nobody_sent, "broken", "nobody has sent it"),
    (store_what_was_refused, "broken", "to send it was refused"),
    (store_half_of_many, "broken", "2 of 3 messages"),
    (number_many_backwards, "reordered", "together has the ids"),
    (number_a_later_one_lower, "reordered", "was sent by producer.1 after"),
    (receive_what_is_not_there, "broken", "which was not sent there"),
    (receive_what_went_to_others, "broken", "which was not sent there"),
    (receive_another_body, "broken", "which is not what was sent"),
    (receive_again_with_automatic_acks, "duplicated", "received 2 times with automatic acks"),
    (lose_one_more_in_a_death, "lost", "in no dying hands"),
    (lose_without_a_death, "lost", "in no dying hands"),
    (lose_before_the_hands_that_die, "lost", "in no dying hands"),
    (die_of_attempts_with_automatic_acks, "lost", "is dead, and nobody received it"),
    (ack_what_no_consumer_has_acked, "lost", "no consumer has done that"),
    (forget_an_ack, "broken", "is delivered, and an ack of it returned"),
    (die_before_the_last_attempt, "lost", "is dead after 1 attempts"),
    (expire, "lost", "is expired after"),
    (count_no_attempt, "duplicated", "received more often than was counted"),
    (hand_out_after_the_ack, "duplicated", "after manual.1 had acked it"),
    (ack_under_two_leases, "duplicated", "acked under two leases"),
    (hand_out_to_two_at_once, "duplicated", "in two hands at once"),
    (count_two_attempts_as_one, "duplicated", "at the same attempt twice"),
    (have_an_effect_twice, "duplicated", "had its effect 2 times"),
    (have_no_effect, "lost", "is acked, and had no effect"),
    (have_an_effect_without_the_ack, "broken", "had its effect, and is sent"),
    (have_the_effect_of_another, "lost", "its effect is not there"),
    (have_an_effect_of_a_stranger, "broken", "was not sent to whoever does that"),
    (hand_out_the_later_first, "reordered", "came to manual:s before"),
    (hand_out_the_less_urgent_first, "reordered", "came to auto:s before"),
    (fail, "broken", "manual.2 failed: OSError"),
]


def lose_any(tale: Tale) -> None:
    assume(tale.messages)
    tale.messages.pop()


def change_any(tale: Tale) -> None:
    assume(tale.messages)
    tale.messages[0] = replace(tale.messages[0], digest="other")


def receive_any_again(tale: Tale) -> None:
    places = [n for n, e in enumerate(tale.events) if e.what == "received" and e.life == "auto.1"]
    assume(places)
    tale.events.insert(places[0], tale.events[places[0]])


def hand_any_out_after_its_ack(tale: Tale) -> None:
    acks = [e for e in tale.events if e.what == "acking" and e.life == "manual.1"]
    assume(acks)
    told = tale.events[tale.event("received", id=acks[0].told["id"])].told
    tale.tell("manual.2", "asking")
    tale.tell("manual.2", "received", **{**told, "attempts": 99})


def double_any_effect(tale: Tale) -> None:
    assume(tale.effects)
    tale.effects.append(tale.effects[0])


ANY = (lose_any, change_any, receive_any_again, hand_any_out_after_its_ack, double_any_effect)
