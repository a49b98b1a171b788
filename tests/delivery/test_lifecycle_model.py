"""The life cycle of deliveries under random calls of clients: a bus file agrees with a plain model."""

from __future__ import annotations

import os
from contextlib import suppress
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from raven.delivery import expiry
from raven.store.atomic import Atomic
from tests.lifecycle_steps import BOSS, OTHER, WORKER, Actor, Held, Loop, Steps, Undone

# Of loops: no renewal comes, and no wait ends, while an example runs.
LONG_S = 3600
PATIENCE_S = 20

clients = st.sampled_from(["quick", "quick", "slow", "slow", "other", "boss"])
modes = st.sampled_from(["prefetch", "prefetch", "manual", "auto"])
spans = st.sampled_from([1, 5, 10, 60])
delays = st.sampled_from([0, 0, 0, 5, 60])
numbers = st.integers(0, 9)
few = st.integers(1, 3)
roles = st.sampled_from([None, WORKER, OTHER])
reasons = st.sampled_from([None, "no good"])
messages = st.fixed_dictionaries(
    {
        "to": st.sampled_from([WORKER, WORKER, OTHER, [WORKER, OTHER], [OTHER, BOSS, WORKER]]),
        "urgency": st.sampled_from(["blocking", "prompt", "prompt", "fyi"]),
        "delay_s": delays,
        "expires_in_s": st.sampled_from([None, None, None, 5, 10, 60]),
        "max_attempts": st.sampled_from([1, 1, 2, 3]),
        "report": st.sampled_from([None, "undelivered"]),
        "dedup_key": st.sampled_from([None, None, None, "a", "b"]),
    },
)
steps = st.one_of(
    st.tuples(st.just("claim"), few, spans),
    st.tuples(st.just("claim"), few, spans),
    st.tuples(st.just("ack"), numbers),
    st.tuples(st.just("nack"), numbers, delays, reasons),
    st.tuples(st.just("nack"), numbers, delays, reasons),
    st.tuples(st.just("extend"), numbers, spans),
    st.tuples(st.just("send"), messages),
)


class Lifecycle(Steps, RuleBasedStateMachine):
    """Each rule runs on the file and on the model, which must return the same; then their contents are compared."""

    def teardown(self) -> None:
        self.close()

    @invariant()
    def agrees(self) -> None:
        self.compare()

    @initialize(several=st.lists(messages, min_size=3, max_size=6))
    def begin(self, several: list[dict[str, Any]]) -> None:
        self.send_many("boss", several)

    @rule(client=clients, several=st.lists(messages, min_size=1, max_size=3))
    def send_many(self, client: str, several: list[dict[str, Any]]) -> None:
        actor = self.actors[client]
        sent = actor.bus.send_many([{"type": "job", **one} for one in several])
        for one, message in zip(several, sent, strict=True):
            self.do_send(actor, one, message)

    @rule(client=clients, step=steps)
    def act(self, client: str, step: Any) -> None:
        self.step(self.actors[client], step)

    @rule(client=clients, delay_s=delays, reason=reasons)
    def fail(self, client: str, delay_s: int, reason: str | None) -> None:
        """Claim a message, and neither ack nor nack it."""
        actor = self.actors[client]
        self.step(actor, ("claim", 1, 10))
        self.step(actor, ("nack", 0, delay_s, reason))

    @precondition(lambda self: self.handed_out)
    @rule(client=clients, number=numbers, how=st.sampled_from(["ack", "nack", "extend"]))
    def show_a_lease(self, client: str, number: int, how: str) -> None:
        """Ack or nack with an earlier lease; another client may hold the message by now."""
        id, lease = self.handed_out[-1 - number % len(self.handed_out)]
        match how:
            case "ack":
                self.do_ack(self.actors[client], id, lease)
            case "nack":
                self.do_nack(self.actors[client], id, lease, 0, None)
            case "extend":
                self.do_extend(self.actors[client], id, lease, 10)

    @rule(client=clients, todo=st.lists(steps, min_size=1, max_size=5), commits=st.booleans())
    def transact(self, client: str, todo: list[Any], commits: bool) -> None:
        """Run several steps in one transaction; a rollback must undo all of them, in the client's memory too."""
        actor, model = self.actors[client], self.model
        before = deepcopy((model.newest, model.messages, model.deliveries, actor.leases, actor.lost))
        handed_out = len(self.handed_out)
        with suppress(Undone), Atomic(actor.bus._store):
            self.read = actor.bus.execute
            for one in todo:
                self.step(actor, one)
                self.book_reports()
            if not commits:
                raise Undone
        self.read = self.file.execute
        if commits:
            actor.forget_finished()
        else:
            model.newest, model.messages, model.deliveries, actor.leases, actor.lost = before
            actor.finished.clear()
            del self.handed_out[handed_out:]

    @rule(client=clients, most=few, peek=st.booleans())
    def inbox(self, client: str, most: int, peek: bool) -> None:
        actor = self.actors[client]
        expected = self.model.visible(actor.address)[:most]
        for one in expected:
            one.state = one.state if peek else "delivered"
        assert [(m.id, m.state) for m in actor.bus.inbox(most, peek)] == [(one.id, one.state) for one in expected]

    @rule(client=clients, ack=modes, lease_s=spans, message=messages)
    def subscribe(self, client: str, ack: Any, lease_s: int, message: dict[str, Any]) -> None:
        self.send_many("boss", [{**message, "to": self.actors[client].address}])
        subscription = self.actors[client].bus.pull_subscription(ack=ack, lease_s=lease_s)
        token = subscription._lease.token if subscription._lease else 0
        self.actors[client].subscriptions.append(Held(subscription, ack, token, lease_s))
        self.do_fetch(self.actors[client], self.actors[client].subscriptions[-1], 2, notified=False)

    @precondition(lambda self: any(actor.subscriptions for actor in self.actors.values()))
    @rule(number=numbers, most=few, notified=st.booleans())
    def fetch(self, number: int, most: int, notified: bool) -> None:
        self.do_fetch(*self.some_subscription(number), most, notified)

    def do_fetch(self, actor: Actor, held: Held, most: int, notified: bool) -> None:
        messages = held.subscription.fetch(most, notified=notified)
        if held.ack == "auto":
            expected = self.model.consume_ready(actor.address, most, notified=notified)
        else:
            lease = self.model.claim if held.ack == "manual" else self.model.prefetch
            expected = lease(actor.address, most, held.token, held.lease_s, notified=notified)
        assert [message.id for message in messages] == expected
        self.check_messages(actor, messages)

    @precondition(lambda self: any(actor.subscriptions for actor in self.actors.values()))
    @rule(number=numbers, which=numbers, after_s=st.sampled_from([0, 0, 5, 10]))
    def consume(self, number: int, which: int, after_s: int) -> None:
        actor, held = self.some_subscription(number, "prefetch")
        self.clock.step(after_s)
        if held.ack == "prefetch":
            id = self.some_id(which, lambda one: one.lease == held.token)
            self.agree(lambda: self.model.consume(id, actor.address, held.token), lambda: held.subscription.consume(id))

    @precondition(lambda self: any(actor.subscriptions for actor in self.actors.values()))
    @rule(number=numbers, after_s=st.sampled_from([0, 5, -10]))
    def renew(self, number: int, after_s: int) -> None:
        actor, held = self.some_subscription(number, "prefetch")
        self.clock.step(after_s)
        assert held.subscription.renew() == self.model.renew(actor.address, held.token, held.lease_s)

    @precondition(lambda self: any(actor.subscriptions for actor in self.actors.values()))
    @rule(number=numbers)
    def unsubscribe(self, number: int) -> None:
        actor, held = self.some_subscription(number)
        held.subscription.close()
        self.model.release(actor.address, held.token)
        actor.subscriptions.remove(held)

    @rule(client=clients, most=few)
    def listen(self, client: str, most: int) -> None:
        """Consume some messages from an auto-ack loop, and leave it."""
        actor = self.actors[client]
        most = min(most, len(self.model.claimable(actor.address)))
        loop = actor.bus.listen(timeout_s=PATIENCE_S if most else 0, max_per_poll=3)
        messages = [next(loop) for _ in range(most)] if most else [*loop]
        assert [message.id for message in messages] == self.model.consume_ready(actor.address, most or 1)
        self.check_messages(actor, messages)
        loop.close()  # type: ignore[attr-defined]

    @rule(client=clients, most=st.integers(1, 2), message=messages)
    def begin_loop(self, client: str, most: int, message: dict[str, Any]) -> None:
        self.send_many("boss", [{**message, "to": self.actors[client].address}])
        bus = self.actors[client].bus
        loop: Any = bus.listen(
            ack="manual", lease_s=LONG_S, poll_interval_s=LONG_S, max_per_poll=most, timeout_s=PATIENCE_S
        )
        self.actors[client].loops.append(Loop(loop, most))
        self.do_next(self.actors[client], self.actors[client].loops[-1])

    @precondition(lambda self: any(actor.loops for actor in self.actors.values()))
    @rule(number=numbers)
    def go_on_with_loop(self, number: int) -> None:
        self.do_next(*self.some_loop(number))

    def do_next(self, actor: Actor, loop: Loop) -> None:
        """Take the next message of a manual loop, unless the loop would wait."""
        held, token = actor.holds(loop.token), loop.token or 0
        others = {id for id in held if self.model.deliveries[id, actor.address].lease != token}
        if not self.model.claimable(actor.address) or len(held - others) >= loop.most:
            return
        if len(held) >= loop.most:  # it checks which of its leases it still holds
            self.model.renew(actor.address, token, LONG_S)
            actor.lost |= others
        message = next(loop.messages)
        loop.token = message.lease
        assert [message.id] == self.model.claim(actor.address, 1, message.lease or 0, LONG_S)
        self.check_messages(actor, [message])
        actor.remember([message])

    @precondition(lambda self: any(actor.loops for actor in self.actors.values()))
    @rule(number=numbers)
    def leave_loop(self, number: int) -> None:
        actor, loop = self.some_loop(number)
        loop.messages.close()
        actor.loops.remove(loop)
        if loop.token is not None:
            self.model.release(actor.address, loop.token)
            for id in actor.holds(loop.token):
                del actor.leases[id]

    @precondition(lambda self: self.model.dead(None))
    @rule(number=numbers, role=roles)
    def requeue(self, number: int, role: str | None) -> None:
        id = self.some_id(number, lambda one: one.state == "dead")
        self.agree(lambda: self.model.requeue(id, role), lambda: self.boss.requeue(id, role=role))

    @precondition(lambda self: self.model.dead(None))
    @rule(how=st.sampled_from(["requeue", "dead", "purge"]), role=roles)
    def tidy(self, how: str, role: str | None) -> None:
        match how:
            case "requeue":
                assert self.boss.requeue(role=role, all=True) == self.model.requeue_all(role)
            case "purge":
                assert self.boss.purge_dead(role) == self.model.purge(role)
            case "dead":
                letters = [(letter.id, letter.recipient, letter.attempts) for letter in self.boss.dead(role)]
                self.model.apply_due()
                assert sorted(letters) == sorted((one.id, one.recipient, one.attempts) for one in self.model.dead(role))

    @rule(how=st.sampled_from(["apply_due", "receipts", "withdraw", "prune"]), number=numbers)
    def look_around(self, how: str, number: int) -> None:
        """Apply due timers as the WAL watcher does, read receipts, or withdraw a request."""
        id = self.some_id(number)
        match how:
            case "apply_due":
                expiry.apply_due(self.boss._store, self.boss._doorbells.ring)
                self.model.apply_due()
            case "receipts":
                self.agree(
                    lambda: self.model.receipts(id),
                    lambda: [(r.recipient, r.state, r.attempts, r.leased) for r in self.boss.receipts(id)],
                )
            case "withdraw":
                self.boss._store.write(lambda tx: tx.change("withdraw", {"message_id": id, "now": self.clock.now()}))
                self.model.withdraw(id)
            case "prune":
                assert self.boss.prune(10, grace_s=0).messages == self.model.prune(10)

    @rule(seconds=st.sampled_from([0.000001, 1, 4, 5, 5, 10, 10, 60, 3600, -1, -30, -3600]))
    def wait(self, seconds: float) -> None:
        self.clock.step(seconds)

    @rule(client=clients, midway=st.booleans())
    def crash(self, client: str, midway: bool) -> None:
        """Kill a client, in a transaction or not; its successor knows none of its leases."""
        self.kill(self.actors[client], midway)
        self.connect(client)


# With a number of examples it searches for new ones, and for the shortest failing one, which can take long.
EXAMPLES = os.environ.get("LIFECYCLE_EXAMPLES")
Lifecycle.TestCase.settings = settings(
    max_examples=int(EXAMPLES or 100),
    stateful_step_count=40,
    derandomize=EXAMPLES is None,
    phases=[Phase.generate, Phase.shrink] if EXAMPLES else [Phase.generate],
    report_multiple_bugs=False,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
TestLifecycle = pytest.mark.slow(Lifecycle.TestCase)
