"""History mutations: each turns a valid history into one with a broken promise."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import assume

from scripts.stress.outcome import Kind
from scripts.tests.history_builder import AUTO, LEASE_S, MANUAL, TRANSACTION, HistoryBuilder, replace

Mutation = Callable[[HistoryBuilder], None]


def valid_history() -> HistoryBuilder:
    """Return a history of sends, receptions, acks, a transaction and two kills; the bus keeps every promise."""
    builder = HistoryBuilder()
    builder.send(AUTO)  # 1
    builder.send(AUTO)  # 2
    builder.send(AUTO, urgency="blocking")  # 3
    builder.send(MANUAL, MANUAL, MANUAL)  # 4, 5, 6
    builder.send((AUTO, MANUAL, TRANSACTION), urgency="fyi", key="k")  # 7
    builder.send(TRANSACTION)  # 8
    for _ in range(2):
        builder.receive("auto.1")
    builder.kill("auto.1")  # loses 2, and has not received 7
    for process in ("manual.1", "transaction.1"):
        id = builder.receive(process)
        assert id is not None
        builder.ack(process, id)
    assert builder.receive("manual.1") == 5
    builder.kill("manual.1")
    builder.expire_leases()
    assert builder.receive("manual.2") == 5
    builder.ack("manual.2", 5)
    return builder


def lose_a_message(builder: HistoryBuilder) -> None:
    builder.messages.remove(builder.messages[7])
    builder.deliveries = [one for one in builder.deliveries if one.message != 8]
    builder.effects = [row for row in builder.effects if row[0] != 8]
    builder.events = [
        event for event in builder.events if event.fields.get("id") != 8 and event.process != "transaction.1"
    ]


def lose_a_delivery_of_a_broadcast(builder: HistoryBuilder) -> None:
    builder.deliveries.pop(builder.delivery_index(TRANSACTION, 7))


def lose_the_message_and_keep_its_delivery(builder: HistoryBuilder) -> None:
    builder.messages.pop(5)


def store_twice(builder: HistoryBuilder) -> None:
    builder.messages.append(replace(builder.messages[0], id=9))
    builder.deliveries.append(replace(builder.deliveries[0], message=9))


def store_a_key_twice(builder: HistoryBuilder) -> None:
    builder.messages.append(replace(builder.messages[6], id=9, token="other"))


def return_another_id(builder: HistoryBuilder) -> None:
    builder.change_event(builder.index_of("sent", ids=[1]), ids=[2])


def change_a_stored_body(builder: HistoryBuilder) -> None:
    builder.messages[0] = replace(builder.messages[0], digest="other")


def deliver_to_another_address(builder: HistoryBuilder) -> None:
    builder.deliveries.append(replace(builder.deliveries[0], recipient="stranger:s"))


def store_an_unsent_message(builder: HistoryBuilder) -> None:
    builder.messages.append(replace(builder.messages[0], id=9, token="from nowhere"))


def store_a_refused_message(builder: HistoryBuilder) -> None:
    index = builder.index_of("sent", ids=[6 + 2])
    call = builder.events[index].fields["call"]
    builder.events[index] = builder.events[index]._replace(type="refused", fields={"call": call, "error": "BusyError"})


def store_some_of_one_call(builder: HistoryBuilder) -> None:
    index = builder.index_of("sent", ids=[4, 5, 6])
    builder.events.pop(index)  # the sender was killed in the call
    builder.messages.pop(5)
    builder.deliveries.pop(builder.delivery_index(MANUAL, 6))


def reverse_ids_of_one_call(builder: HistoryBuilder) -> None:
    first, last = builder.messages[3], builder.messages[5]
    builder.messages[3], builder.messages[5] = replace(last, id=4), replace(first, id=6)


def give_a_later_send_a_lower_id(builder: HistoryBuilder) -> None:
    builder.messages[0], builder.messages[1] = replace(builder.messages[1], id=1), replace(builder.messages[0], id=2)
    first, second = builder.index_of("sent", ids=[1]), builder.index_of("sent", ids=[2])
    builder.change_event(first, ids=[2])
    builder.change_event(second, ids=[1])


def receive_an_unknown_message(builder: HistoryBuilder) -> None:
    builder.change_event(builder.index_of("received", id=1), id=99)


def receive_a_message_of_another_address(builder: HistoryBuilder) -> None:
    builder.change_event(
        builder.index_of("received", id=1), id=8, token=builder.messages[7].token, digest=builder.messages[7].digest
    )


def receive_a_changed_body(builder: HistoryBuilder) -> None:
    builder.change_event(builder.index_of("received", id=4), digest="other")


def receive_an_auto_acked_message_twice(builder: HistoryBuilder) -> None:
    again = builder.events[builder.index_of("received", id=1)]
    builder.events.append(again._replace(at=builder.now + 1))


def lose_two_messages_in_one_kill(builder: HistoryBuilder) -> None:
    builder.change_delivery(
        AUTO, 7, state="acked", finished_wall=builder.deliveries[builder.delivery_index(AUTO, 2)].finished_wall
    )


def lose_a_message_without_a_kill(builder: HistoryBuilder) -> None:
    builder.change_event(builder.index_of("ended", process="auto.1"), code=0)


def lose_a_message_before_the_kill(builder: HistoryBuilder) -> None:
    builder.change_delivery(AUTO, 2, finished_wall=1000.0)


def dead_letter_an_auto_acked_message(builder: HistoryBuilder) -> None:
    builder.change_delivery(AUTO, 7, state="dead")


def store_an_ack_that_no_consumer_sent(builder: HistoryBuilder) -> None:
    builder.change_delivery(MANUAL, 6, state="acked")


def lose_an_ack(builder: HistoryBuilder) -> None:
    builder.change_delivery(MANUAL, 4, state="delivered")


def dead_letter_before_the_last_attempt(builder: HistoryBuilder) -> None:
    builder.change_delivery(MANUAL, 6, state="dead", attempts=1)


def expire_a_message_without_expiry(builder: HistoryBuilder) -> None:
    builder.change_delivery(MANUAL, 6, state="expired")


def count_too_few_attempts(builder: HistoryBuilder) -> None:
    builder.change_delivery(MANUAL, 5, attempts=1)


def redeliver_after_the_ack(builder: HistoryBuilder) -> None:
    builder.change_delivery(MANUAL, 4, attempts=2)
    fields = builder.events[builder.index_of("received", id=4)].fields
    builder.add("manual.2", "asking")
    builder.add("manual.2", "received", **{**fields, "attempts": 2, "lease": 77})


def ack_under_two_leases(builder: HistoryBuilder) -> None:
    call = builder.call()
    builder.add("manual.2", "acking", call=call, id=4, lease=77)
    builder.add("manual.2", "acked", call=call)


def deliver_to_two_at_once(builder: HistoryBuilder) -> None:
    for index in range(builder.index_of("ended", process="manual.1"), len(builder.events)):
        builder.events[index] = builder.events[index]._replace(at=builder.events[index].at - LEASE_S)


def count_two_attempts_as_one(builder: HistoryBuilder) -> None:
    for index, event in enumerate(builder.events):
        if event.type == "received" and event.fields["id"] == 5:
            builder.change_event(index, attempts=1)


def store_an_effect_twice(builder: HistoryBuilder) -> None:
    builder.effects.append(builder.effects[0])


def lose_all_effects(builder: HistoryBuilder) -> None:
    builder.effects.clear()


def store_an_effect_without_the_ack(builder: HistoryBuilder) -> None:
    builder.effects.append((7, "transaction.1"))


def store_an_effect_of_another_process(builder: HistoryBuilder) -> None:
    builder.effects[0] = (8, "transaction.2")


def store_an_effect_of_another_address(builder: HistoryBuilder) -> None:
    builder.effects.append((1, "transaction.1"))


def deliver_the_later_first(builder: HistoryBuilder) -> None:
    swap(builder, 4, 5)


def deliver_the_less_urgent_first(builder: HistoryBuilder) -> None:
    swap(builder, 3, 1)


def fail(builder: HistoryBuilder) -> None:
    builder.add("manual.2", "failed", error="OSError")


def swap(builder: HistoryBuilder, one: int, other: int) -> None:
    """Exchange the receptions of two messages."""
    first, second = builder.index_of("received", id=one), builder.index_of("received", id=other)
    a, b = builder.events[first], builder.events[second]
    builder.events[first], builder.events[second] = a._replace(fields=b.fields), b._replace(fields=a.fields)


MUTATIONS: list[tuple[Mutation, Kind, str]] = [
    (lose_a_message, "lost", "and is not in the bus"),
    (lose_a_delivery_of_a_broadcast, "lost", "has no delivery to transaction:s"),
    (lose_the_message_and_keep_its_delivery, "lost", "has deliveries, and the message is not in the bus"),
    (store_twice, "duplicated", "is in the bus 2 times"),
    (store_a_key_twice, "duplicated", "k of producer:s is in the bus as"),
    (return_another_id, "broken", "in the bus is t"),
    (change_a_stored_body, "broken", "differs from the message that was sent"),
    (deliver_to_another_address, "duplicated", "instead of ['auto:s']"),
    (store_an_unsent_message, "broken", "no process has sent it"),
    (store_a_refused_message, "broken", "its send was refused"),
    (store_some_of_one_call, "broken", "2 of 3 messages"),
    (reverse_ids_of_one_call, "reordered", "in one call have the ids"),
    (give_a_later_send_a_lower_id, "reordered", "was sent by producer.1 after"),
    (receive_an_unknown_message, "broken", "which was not sent there"),
    (receive_a_message_of_another_address, "broken", "which was not sent there"),
    (receive_a_changed_body, "broken", "which differs from the stored message"),
    (receive_an_auto_acked_message_twice, "duplicated", "received 2 times with automatic acks"),
    (lose_two_messages_in_one_kill, "lost", "no killed process held it"),
    (lose_a_message_without_a_kill, "lost", "no killed process held it"),
    (lose_a_message_before_the_kill, "lost", "no killed process held it"),
    (dead_letter_an_auto_acked_message, "lost", "is dead, and no consumer received it"),
    (store_an_ack_that_no_consumer_sent, "lost", "no consumer has acked it"),
    (lose_an_ack, "broken", "is delivered, and an ack of it returned"),
    (dead_letter_before_the_last_attempt, "lost", "is dead after 1 attempts"),
    (expire_a_message_without_expiry, "lost", "is expired after"),
    (count_too_few_attempts, "duplicated", "received more often than its attempts say"),
    (redeliver_after_the_ack, "duplicated", "after manual.1 had acked it"),
    (ack_under_two_leases, "duplicated", "acked under two leases"),
    (deliver_to_two_at_once, "duplicated", "was held twice at once"),
    (count_two_attempts_as_one, "duplicated", "at the same attempt twice"),
    (store_an_effect_twice, "duplicated", "had its effect 2 times"),
    (lose_all_effects, "lost", "is acked, and had no effect"),
    (store_an_effect_without_the_ack, "broken", "had its effect, and is sent"),
    (store_an_effect_of_another_process, "lost", "returned, and has no effect"),
    (store_an_effect_of_another_address, "broken", "was not sent to an address with transactions"),
    (deliver_the_later_first, "reordered", "came to manual:s before"),
    (deliver_the_less_urgent_first, "reordered", "came to auto:s before"),
    (fail, "broken", "manual.2 failed: OSError"),
]


def lose_any_message(builder: HistoryBuilder) -> None:
    assume(builder.messages)
    builder.messages.pop()


def change_any_body(builder: HistoryBuilder) -> None:
    assume(builder.messages)
    builder.messages[0] = replace(builder.messages[0], digest="other")


def receive_any_again(builder: HistoryBuilder) -> None:
    indexes = [n for n, e in enumerate(builder.events) if e.type == "received" and e.process == "auto.1"]
    assume(indexes)
    builder.events.insert(indexes[0], builder.events[indexes[0]])


def redeliver_any_after_its_ack(builder: HistoryBuilder) -> None:
    acks = [e for e in builder.events if e.type == "acking" and e.process == "manual.1"]
    assume(acks)
    fields = builder.events[builder.index_of("received", id=acks[0].fields["id"])].fields
    builder.add("manual.2", "asking")
    builder.add("manual.2", "received", **{**fields, "attempts": 99})


def store_any_effect_twice(builder: HistoryBuilder) -> None:
    assume(builder.effects)
    builder.effects.append(builder.effects[0])


MUTATIONS_OF_ANY = (
    lose_any_message,
    change_any_body,
    receive_any_again,
    redeliver_any_after_its_ack,
    store_any_effect_twice,
)
