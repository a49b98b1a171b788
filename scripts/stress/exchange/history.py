"""History: random steps of two or three linked hosts, then a peace in which all comes to rest, and the checks."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

from raven import ExpiredError, LeaseLostError, MessageNotFoundError, RavenError
from raven.exchange.exchange import Exchange
from raven.exchange.values import Confirmation
from raven.receive.request import PendingRequest
from scripts.stress.exchange.bag import Bag
from scripts.stress.exchange.hosts import SECOND_US, Clocks, Host
from scripts.stress.exchange.ledger import Hand, Ledger, Letter
from scripts.stress.exchange.rest import differences

NAMES = ("alpha", "beta", "gamma")
_WORKERS = tuple(f"worker{number}:s" for number in range(5))
_URGENCIES = ("blocking", "prompt", "fyi")
_LOSSES = (0.0, 0.1, 0.4)
_PAUSES_S = (0.01, 0.5, 3, 8, 35)
_ROUNDS_OF_PEACE = 60
_ROUND_S = 5.0
_RELAY_STEPS = ("hand over", "publish", "publish", "deliver", "deliver", "hear", "tell")


class History:
    """One history, made from a seed. `findings` are the broken promises, each a kind and a text.

    In half of the histories each address has one home, the only host where it is used. In the others addresses roam:
    any host claims their mail, and gives it back. Every other one knows no older files.
    """

    def __init__(self, folder: Path, template: Path, seed: int, steps: int) -> None:
        self.chance = chance = random.Random(seed)
        self.ledger = Ledger()
        self.counts: Counter[str] = Counter()
        self.roams = chance.random() < 0.5
        self.restores = chance.random() < 0.5
        self._steps = steps
        self._clocks = Clocks()
        self._bag = Bag(chance, chance.choice(_LOSSES))
        skews_us = (0, 3_600 * SECOND_US, -86_400 * SECOND_US)
        names = NAMES[: chance.choice((2, 3))]
        with self._clocks.installed():
            self.hosts = {name: Host(self._clocks, template, folder, name, chance.choice(skews_us)) for name in names}
        self._homes = {worker: chance.choice(names) for worker in _WORKERS}
        self._cursors: dict[tuple[str, str], int] = {}
        self._numbers = 0
        self._copied: set[str] = set()
        self._asked: list[tuple[str, PendingRequest]] = []

    @property
    def findings(self) -> list[tuple[str, str]]:
        """The broken promises so far."""
        return self.ledger.findings

    def run(self) -> None:
        """Run the steps and the peace, and check the files; the first broken promise ends the steps."""
        acts: dict[Callable[[], None], int] = {
            self._send: 14,
            self._relay: 60,
            self._claim: 12,
            self._finish_hand: 16,
            self._pause: 4,
            self._ask: 2,
            self._fetch_reply: 2,
            self._restart: 2,
            self._start_again: 3,
            self._say_cards: 3,
            self._show: 1,
            self._change_by_hand: 2,
            self._requeue: 2,
            self._prune: 1,
            self._give_back: 3 if self.roams else 0,
            self._save: 2 if self.restores else 0,
            self._restore: 2 if self.restores else 0,
        }
        with self._clocks.installed():
            for act in self.chance.choices([*acts], [*acts.values()], k=self._steps):
                act()
                if self.findings:
                    return
            self._make_peace()
            if not self.findings:
                dead = {row for host in self.hosts.values() for row in host.sql(_DEAD)}
                self.ledger.check(dead)
                self.ledger.findings += [
                    ("broken", text)
                    for text in differences(self.hosts.values(), was_restored=self.counts["restored files"] > 0)
                ]

    def close(self) -> None:
        """Close all hosts."""
        for host in self.hosts.values():
            self.counts["full disks"] += host.full_disks
            host.close()
        self.counts["lost envelopes and words"] += self._bag.lost
        self.counts["repeated envelopes and words"] += self._bag.repeated

    # Clients.

    def _send(self) -> None:
        chance, host = self.chance, self._any_host()
        self._numbers += 1
        number, token = self._numbers, f"m{self._numbers}"
        options: dict[str, Any] = {"urgency": chance.choice(_URGENCIES), "max_attempts": chance.choice((1, 2, 5))}
        sender = f"boss.{host.name}:b"
        kind = chance.random()
        to: Any = chance.sample(_WORKERS, chance.choice((1, 1, 1, 2, 3)))
        if kind < 0.1:
            token, sender, to = f"k{chance.randrange(6)}", "cron:b", _WORKERS[:1]
            options = {"dedup_key": token}
        elif kind < 0.2:
            options["expires_in_s"] = chance.choice((1, 5, 60))
        elif kind < 0.3:
            to = "*:s"
        options["tags"] = [token]
        bus = host.at(sender)
        if to == "*:s":
            bus.register(*chance.sample(_WORKERS, 2))
        message = bus.send(
            to, "job", {"token": token, "pad": "x" * (number % 3 * 1000 if kind >= 0.1 else 0)}, **options
        )
        self.counts["messages"] += 1
        content = ("job", message.body, message.urgency, message.tags, sender)
        for receipt in bus.receipts(message.id):
            letter = Letter(token, receipt.recipient, sender, host.name, number, message.urgency, content)
            letter.keeps_order = not self.roams
            if "expires_in_s" in options:
                letter.least = 0
            if "dedup_key" in options:
                # Hosts that handle it on their own, or have pruned it, handle another one of the same key.
                letter.most, letter.keeps_order = 1_000_000, False
            self.ledger.send(letter)

    def _ask(self) -> None:
        host, recipient = self._any_host(), self.chance.choice(_WORKERS)
        self._numbers += 1
        token, sender = f"q{self._numbers}", f"boss.{host.name}:b"
        pending = host.at(sender).pending_request(
            recipient, "ask", {"token": token}, timeout_s=self.chance.choice((5, 40))
        )
        message = pending.send()
        content = ("ask", message.body, message.urgency, message.tags, sender)
        letter = Letter(token, recipient, sender, host.name, self._numbers, message.urgency, content, least=0)
        self.ledger.send(letter)
        self._asked.append((host.name, pending))
        self.counts["requests"] += 1

    def _fetch_reply(self) -> None:
        if not self._asked:
            return
        name, pending = self._asked.pop(self.chance.randrange(len(self._asked)))
        self.hosts[name].exchange  # noqa: B018 from now on the clock is this host's
        subscription = pending.pull_subscription()
        for reply in subscription.fetch(1, notified=True):
            token = reply.body["token"]
            letter = self.ledger.letters.get((token, pending.reply_address))
            if letter is None:
                self.ledger.find("broken", f"the reply {token} was never sent to {pending.reply_address}")
            else:
                letter.handled += 1
            self.counts["replies"] += 1
        subscription.close()
        pending.withdraw()

    def _claim(self) -> None:
        worker = self.chance.choice(_WORKERS)
        host = self._any_host() if self.roams else self.hosts[self._homes[worker]]
        self._claim_at(host, worker, self.chance.choice((1, 1, 3, 10)), self.chance.choice((2, 10, 30)))

    def _claim_at(self, host: Host, worker: str, count: int, lease_s: float) -> int:
        messages = host.at(worker).claim(count, lease_s, remember=False)
        now = self._clocks.server_us
        for message in messages:
            letter = self.ledger.letters.get((message.body["token"], worker))
            content = (message.type, message.body, message.urgency, message.tags, message.sender)
            if letter is None:
                self.ledger.find("broken", f"{content} was never sent to {worker}, and is there on {host.name}")
            elif letter.content != content:
                self.ledger.find("broken", f"{content} was sent as {letter.content}")
            else:
                self.ledger.claim(Hand(host.name, worker, message, letter, now + round(lease_s * SECOND_US)), now)
        return len(messages)

    def _finish_hand(self) -> None:
        hands = self.ledger.hands
        if hands:
            self._finish(hands.pop(self.chance.randrange(len(hands))))

    def _finish(self, hand: Hand, act: float | None = None) -> None:
        bus = self.hosts[hand.host].at(hand.address)
        message, kind = hand.message, self.chance.random() if act is None else act
        try:
            if kind < 0.15:
                state = bus.nack(message.id, self.chance.choice((0, 3)), "no good", lease=message.lease)
                self.ledger.touch(hand.host, hand.letter, "nacked")
                hand.letter.keeps_order = False
                self.counts["dead letters"] += state == "dead"
                return
            if kind < 0.5 and message.reply_address:
                self._reply(hand)
            bus.ack(message.id, lease=message.lease)
        except (LeaseLostError, MessageNotFoundError):
            return
        self.ledger.handle(hand)

    def _reply(self, hand: Hand) -> None:
        self._numbers += 1
        token, bus = f"r{self._numbers}", self.hosts[hand.host].at(hand.address)
        try:
            reply = bus.reply(hand.message.id, "answer", {"token": token})
        except RavenError:
            return  # the request was withdrawn
        for recipient in bus.recipients(reply.id):
            letter = Letter(token, recipient, hand.address, hand.host, self._numbers, reply.urgency, (), least=0)
            self.ledger.send(letter)

    def _pause(self) -> None:
        self._clocks.step(self.chance.choice(_PAUSES_S))
        self._any_host().at(_WORKERS[0]).dead()  # applies the timers that are due

    def _change_by_hand(self) -> None:
        """Ack or nack a delivery that another host has, on the host that sent it."""
        host = self._any_host()
        held = host.sql("SELECT id, recipient FROM deliveries WHERE frame > 0 AND state < 2")
        if not held:
            return
        id, recipient = self.chance.choice(held)
        letter = self._letter(host, id >> 20, recipient)
        if letter is None:
            return
        bus = host.at(recipient)
        if self.chance.random() < 0.5:
            bus.ack(id >> 20)
            letter.least = 0
        else:
            bus.nack(id >> 20)
            letter.keeps_order = False
            if self.roams:
                letter.most += 1  # it may be in hand on the other host
        self.ledger.touch(host.name, letter, "changed by hand")
        self.counts["changes by hand"] += 1

    def _requeue(self) -> None:
        host = self._any_host()
        dead = host.sql("SELECT id, recipient FROM deliveries WHERE state = 4")
        if not dead:
            return
        id, recipient = self.chance.choice(dead)
        letter = self._letter(host, id >> 20, recipient)
        if letter is None:
            return
        try:
            host.at(recipient).requeue(id >> 20, role=recipient)
        except ExpiredError:
            return
        letter.keeps_order = False
        if self.roams:
            letter.most += 1  # it may have been requeued where it died, too
        self.ledger.touch(host.name, letter, "requeued")
        self.counts["requeues"] += 1

    def _prune(self) -> None:
        host = self._any_host()
        host.at(_WORKERS[0]).prune(self.chance.choice((0, 10, 100)), grace_s=0)
        if self.restores:
            # An older copy of another host's file may send messages again that are forgotten here.
            for letter in self.ledger.letters.values():
                letter.most += 1
        self.counts["prunes"] += 1

    def _letter(self, host: Host, message_id: int, recipient: str) -> Letter | None:
        rows = host.sql("SELECT body ->> 'token' FROM messages WHERE id = ?", message_id)
        return self.ledger.letters.get((rows[0][0], recipient)) if rows and recipient in _WORKERS else None

    # Relays.

    def _relay(self) -> None:
        sender, receiver = self.chance.sample([*self.hosts.values()], 2)
        killed_at = self.chance.randrange(1, 25) if self.chance.random() < 0.07 else None
        step = self.chance.choice(_RELAY_STEPS)
        self.counts["kills"] += killed_at is not None
        if step == "hand over":
            self._hand_over(sender, receiver, killed_at)
        elif step == "publish":
            self._publish(sender, receiver)
        elif step == "deliver":
            self._deliver(sender, receiver, killed_at, is_full=self.chance.random() < 0.15)
        elif step == "hear":
            self._hear(sender, receiver, 3)
        else:
            sender.relay(lambda exchange: exchange.tell(), killed_at)

    def _hand_over(self, sender: Host, receiver: Host, killed_at: int | None = None) -> None:
        addresses = []
        for address, _, question_host in sender.exchange.outgoing(full=True):
            if question_host is not None:
                is_there = question_host == receiver.name
            elif self.roams or address not in self._homes:
                is_there = address in self._homes and self.chance.random() < 0.5
            else:
                is_there = self._homes[address] == receiver.name
            if is_there:
                addresses.append(address)
        most = self.chance.choice((1, 3, 200))
        sender.relay(lambda exchange: exchange.hand_over(receiver.name, addresses, most), killed_at)

    def _publish(self, sender: Host, receiver: Host) -> None:
        pair = sender.name, receiver.name
        batch = sender.exchange.frames(receiver.name, self._cursors.get(pair, 0), self.chance.choice((1, 3, 200)))
        if batch.frames:
            self._cursors[pair] = batch.frames[-1].number
            self._bag.put(*pair, batch)
            self.counts["frames"] += len(batch.frames)

    def _deliver(self, sender: Host, receiver: Host, killed_at: int | None = None, *, is_full: bool = False) -> None:
        envelopes = self._bag.take(sender.name, receiver.name, self.chance.choice((1, 2, 5)))
        if not envelopes:
            return

        def take_in(exchange: Exchange) -> Confirmation:
            taken = exchange.take_in(sender.name, envelopes)
            if taken.is_behind and self._bag.loss == 0:
                self._cursors[sender.name, receiver.name] = 0
            return taken.confirmation

        word = receiver.with_full_disk(take_in) if is_full else receiver.relay(take_in, killed_at)
        if word is not None:
            self._bag.say(receiver.name, sender.name, word)

    def _hear(self, speaker: Host, listener: Host, at_most: int) -> None:
        for word in self._bag.hear(speaker.name, listener.name, at_most):
            listener.exchange.confirmed(speaker.name, word)
        if self.chance.random() < 0.5:
            listener.relay(lambda exchange: exchange.flush())

    def _restart(self) -> None:
        self._any_host().restart_relay()
        self.counts["restarts"] += 1

    def _start_again(self) -> None:
        """Publish again from the first frame that is not confirmed, as after a word of the other host."""
        self._cursors.clear()

    def _say_cards(self) -> None:
        """Let each host tell each other its last committed frame, as its card does."""
        for speaker, listener in permutations(self.hosts.values(), 2):
            self._bag.say(speaker.name, listener.name, self._word(speaker, listener))

    def _word(self, speaker: Host, listener: Host) -> Confirmation:
        state = speaker.exchange.hosts().get(listener.name)
        return Confirmation(0, 0, 0) if state is None else state.confirmation

    def _show(self) -> None:
        for shown, other in permutations(self.hosts.values(), 2):
            home = shown.exchange.home()
            other.relay(lambda exchange, shown=shown, home=home: exchange.show(shown.name, home))  # type: ignore[misc]

    def _give_back(self) -> None:
        host, killed_at = self._any_host(), None if self.chance.random() < 0.9 else self.chance.randrange(1, 25)
        addresses = [one.address for one in host.exchange.incoming() if self.chance.random() < 0.5]
        for letter in self.ledger.letters.values():
            letter.keeps_order = False
        if self.chance.random() < 0.1:
            host.relay(lambda exchange: exchange.give_back_all(), killed_at)
        else:
            host.relay(lambda exchange: exchange.give_back(addresses), killed_at)
        self.counts["returns"] += len(addresses)

    # Administrators.

    def _save(self) -> None:
        host = self._any_host()
        host.save()
        self._copied.add(host.name)
        self.ledger.saved(host.name)

    def _restore(self) -> None:
        if not self._copied:
            return
        name = self.chance.choice(sorted(self._copied))
        self.hosts[name].restore()
        self.ledger.restored(name, roams=self.roams)
        self._asked = [one for one in self._asked if one[0] != name]
        self.counts["restored files"] += 1
        # New frames may get the numbers of lost ones before the other hosts are heard.
        for _ in range(self.chance.choice((0, 4, 10))):
            self._send()
        for receiver in self.hosts.values():
            if receiver.name != name:
                self._hand_over(self.hosts[name], receiver)
                self._publish(self.hosts[name], receiver)

    def _any_host(self) -> Host:
        return self.chance.choice([*self.hosts.values()])

    # Peace.

    def _make_peace(self) -> None:
        """Let nothing be lost any more, and handle all mail, until all is told to all."""
        self._bag.loss = 0.0
        for hand in self.ledger.hands:
            self._finish(hand, 0.9)
        self.ledger.hands.clear()
        for _ in range(_ROUNDS_OF_PEACE):
            self._clocks.step(_ROUND_S)
            self._cursors.clear()
            self._say_cards()
            for host in self.hosts.values():
                host.at(_WORKERS[0]).dead()  # applies the timers that are due, as a process that waits does
                host.exchange.flush()
                host.exchange.tell()
                for worker in _WORKERS:
                    if self.roams or self._homes[worker] == host.name:
                        self._consume(host, worker)
            self._carry_all()
            if all(self._is_at_rest(host) for host in self.hosts.values()):
                return
        self.ledger.find("broken", f"the hosts never come to rest: {self._unrest()}")

    def _consume(self, host: Host, worker: str) -> None:
        while self._claim_at(host, worker, 100, 30):
            for hand in self.ledger.hands:
                self._finish(hand, 0.9)
            self.ledger.hands.clear()

    def _carry_all(self) -> None:
        for sender, receiver in permutations(self.hosts.values(), 2):
            self._hand_over(sender, receiver)
            for _ in range(100):
                self._publish(sender, receiver)
                self._deliver(sender, receiver)
            self._hear(receiver, sender, 1000)

    def _is_at_rest(self, host: Host) -> bool:
        return not any(host.sql(_UNREST)[0])

    def _unrest(self) -> str:
        return "; ".join(
            f"{host.name} has {held} held, {ready} open, {frames} frames, {news} news"
            for host in self.hosts.values()
            for held, ready, frames, news in host.sql(_UNREST)
        )


_DEAD = """
SELECT m.body ->> 'token', d.recipient FROM deliveries AS d JOIN messages AS m ON m.id = d.id >> 20 WHERE d.state = 4
"""
_UNREST = """
SELECT (SELECT count(*) FROM deliveries WHERE state < 2 AND frame > 0),
       (SELECT count(*) FROM deliveries WHERE state < 2 AND ifnull(frame, 0) <= 0 AND recipient NOT GLOB '*+*'),
       (SELECT count(*) FROM link_out), (SELECT count(*) FROM link_news)
"""
