"""Cases: single faults of a link, each with two or three hosts and one server of the newest release."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial, wraps
from pathlib import Path
from typing import Any

from raven.exchange.exchange import Exchange
from raven.exchange.values import HostOverview
from scripts.harness.deadline import Deadline
from scripts.harness.linked import Linked
from scripts.harness.nats_server import NATSServer
from scripts.harness.program import Program
from scripts.stress import report
from scripts.stress.clock.clock_offset import ClockOffset
from scripts.stress.link.realm import WITHIN_S, Realm, command
from scripts.stress.link.servers import AGES, binary_of
from scripts.stress.trial import Round

_HOUR_S = 3600.0
_PROGRAM_S = 150.0
_MANY = 20
_RESTARTS = 6
_HELD_WITHIN_S, _PLANTED_S = 8.0, 6.0
# A host that is another one than its card says has so long to notice it.
_REFUSED_WITHIN_S = 30.0


def _with_realm(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a case an empty realm and its server besides the round; without a nats-server the case is skipped."""

    def decorate(case: Callable[..., None]) -> Callable[..., None]:
        @wraps(case)
        def run(round: Round, **options: Any) -> None:
            binary = _binary(round)
            if binary is not None:
                with ExitStack() as stack:
                    server = stack.enter_context(NATSServer(round.folder / name / "nats", binary))
                    case(round, Realm(round, round.folder / name, server.url, stack), server, **options)

        return run

    return decorate


def _binary(round: Round) -> str | None:
    return next((path for age in AGES if (path := binary_of(round, age))), None)


@_with_realm("receiver")
def restored_receiver(round: Round, realm: Realm, _: NATSServer) -> None:
    """Put an older file of the receiving host back: what it had not yet handled comes again, and nothing else."""
    for host in ("alpha", "beta"):
        realm.link(host)
    realm.know("beta", "worker:case", "alpha")
    first = realm.send("alpha", "worker:case", _MANY)
    realm.take("beta", "worker:case", first, "before the receiver's file is restored")
    realm.finish("alpha", first, "before the receiver's file is restored")
    copy = realm.copy("beta")
    second = realm.send("alpha", "worker:case", _MANY)
    realm.until(partial(_has_confirmed, realm.relays["alpha"], len(second)), "beta has the second messages")
    realm.relays["beta"].kill()
    realm.restore("beta", copy)
    realm.relays["beta"].start()
    third = realm.send("alpha", "worker:case", _MANY)
    why = "after the receiver's file was restored"
    realm.take("beta", "worker:case", second + third, why, 2 * WITHIN_S)
    realm.finish("alpha", second + third, why)
    realm.settle(why)


@_with_realm("sender")
def restored_sender(round: Round, realm: Realm, _: NATSServer) -> None:
    """Put an older file of the sending host back: its new messages arrive, and none of the earlier ones again."""
    copy = _two_batches(realm, {})[0]
    realm.relays["alpha"].kill()
    realm.restore("alpha", copy)
    realm.relays["alpha"].start()
    third = realm.send("alpha", "worker:case", _MANY)
    why = "after the sender's file was restored"
    realm.take("beta", "worker:case", third, why, 2 * WITHIN_S)
    realm.finish("alpha", third, why)
    realm.settle(why)


@_with_realm("numbers")
def reused_numbers(round: Round, realm: Realm, server: NATSServer, raven: Sequence[str] | None = None) -> None:
    """Put older files of the sending host and of the server back, so that numbers are given to frames a second time.

    `raven` is the command of the relays. If beta's card is too old by then, no number is, which the counts show.
    """
    options = {} if raven is None else {"command": raven}
    copy, store, count = _two_batches(realm, options, server)
    for relay in realm.relays.values():
        relay.kill()
    server.kill()
    realm.restore("alpha", copy)
    server.roll_back(store)
    server.start()
    third = realm.send("alpha", "worker:case", count + _MANY)
    realm.relays["alpha"].start()
    if _wait_for_holds(realm.relays["alpha"], len(third)):
        round.count("numbers given to frames twice", count)
    realm.relays["beta"].start()
    why = "after numbers were given out twice"
    realm.take("beta", "worker:case", third, why, 2 * WITHIN_S if raven is None else _PLANTED_S)
    if raven is None:
        realm.finish("alpha", third, why)
        realm.settle(why)


def _two_batches(realm: Realm, options: dict[str, Any], server: NATSServer | None = None) -> tuple[Path, Path, int]:
    """Send two batches from alpha to beta; return copies of alpha's bus and the store between them, and a length."""
    for host in ("alpha", "beta"):
        realm.link(host, **options)
    realm.know("beta", "worker:case", "alpha")
    first = realm.send("alpha", "worker:case", 5)
    realm.take("beta", "worker:case", first, "before the sender's file is restored")
    realm.finish("alpha", first, "before the sender's file is restored")
    copy = realm.copy("alpha")
    store = server.copy_store() if server else copy
    second = realm.send("alpha", "worker:case", _MANY)
    realm.take("beta", "worker:case", second, "before the sender's file is restored")
    realm.finish("alpha", second, "before the sender's file is restored")
    return copy, store, len(second)


@_with_realm("cloned")
def cloned(round: Round, realm: Realm, _: NATSServer) -> None:
    """Link a copy of a bus, under its name and under another, and another bus under its name: each is refused."""
    for host in ("alpha", "beta"):
        realm.link(host)
    realm.know("beta", "worker:case", "alpha")
    for number, (name, is_copy) in enumerate((("alpha", True), ("delta", True), ("alpha", False))):
        db = realm.db(f"clone{number}")
        if is_copy:
            realm.copy("alpha").replace(db)
        with Linked(db, realm.url, name, waits=False) as relay:
            realm.until(lambda relay=relay: relay.has_ended, f"a relay is refused: {name}", _REFUSED_WITHIN_S)
            round.expect(relay.has_ended and relay.process.returncode, f"a second {name} ended without an error")
            round.expect("error: " in relay.log(), f"a second {name} said only {relay.log()[-200:]!r}")
            round.count("copies of a bus refused")
    for host in ("alpha", "beta"):
        round.expect(not realm.relays[host].has_ended, f"{host} has ended: {realm.relays[host].log()[-300:]}")
    sent = realm.send("alpha", "worker:case", _MANY)
    realm.take("beta", "worker:case", sent, "beside refused copies")
    realm.finish("alpha", sent, "beside refused copies")


@_with_realm("restarts")
def restarts(round: Round, realm: Realm, server: NATSServer) -> None:
    """Restart the server again and again under relays that live on: nothing is lost, and no descriptor stays open."""
    for host in ("alpha", "beta"):
        realm.link(host)
    realm.know("beta", "worker:case", "alpha")
    counts = []
    for number in range(_RESTARTS):
        sent = realm.send("alpha", "worker:case", _MANY)
        server.kill()
        if number == _RESTARTS // 2:
            server.wipe()
        sent += realm.send("alpha", "worker:case", _MANY)
        server.start()
        round.count("servers restarted under living relays")
        realm.take("beta", "worker:case", sent, "after a restart of the server")
        realm.finish("alpha", sent, "after a restart of the server")
        counts.append(max(relay.descriptors() for relay in realm.relays.values()))
    round.expect(counts[-1] <= counts[0] + 2, f"descriptors of the relays after each restart: {counts}")
    realm.settle("after restarts of the server")


@_with_realm("clock")
def stepped_clock(round: Round, realm: Realm, _: NATSServer) -> None:
    """Step the clock of one host forward and back while messages come: none is lost, doubled, or expires too early."""
    offset = ClockOffset(round.folder / "clock" / "offset")
    realm.link("alpha")
    shifted = command("scripts.stress.clock.run_with_offset", offset.path, "raven")
    realm.link("beta", command=shifted)
    realm.know("beta", "worker:case", "alpha")
    for step_s in (_HOUR_S, -24 * _HOUR_S, 0.0):
        sent = realm.send("alpha", "worker:case", _MANY)
        offset.set(step_s)
        round.count("clock steps of one host")
        sent += realm.send("alpha", "worker:case", _MANY)
        time.sleep(1.0)  # some of them are there before the consumer looks, some are not
        sent += realm.send("alpha", "worker:case", _MANY)
        realm.take("beta", "worker:case", sent, f"after a step of {step_s:g} s")
        realm.finish("alpha", sent, f"after a step of {step_s:g} s")
    realm.settle("after steps of the clock")


@_with_realm("versions")
def mixed_versions(round: Round, realm: Realm, _: NATSServer) -> None:
    """Link hosts whose relays speak a newer and an older version of the wire: they understand each other, or wait."""
    realm.link("alpha")
    realm.link("beta", command=command("scripts.stress.link.planted", "newer-wire"))
    realm.link("gamma", command=command("scripts.stress.link.planted", "older-wire"))
    realm.know("beta", "worker:case", "alpha")
    realm.know("gamma", "elder:case")
    realm.know("alpha", "boss:case", "beta")
    for sender, to, receiver in (("alpha", "worker:case", "beta"), ("beta", "boss:case", "alpha")):
        sent = realm.send(sender, to, _MANY)
        realm.take(receiver, to, sent, "between versions of the wire")
        realm.finish(sender, sent, "between versions of the wire")
    waiting = realm.send("alpha", "elder:case", _MANY)
    realm.relays["gamma"].kill()
    realm.link("gamma")
    realm.take("gamma", "elder:case", waiting, "after an older version was upgraded")
    realm.finish("alpha", waiting, "after an older version was upgraded")
    round.count("messages between versions of the wire", 3 * _MANY)


def in_program(round: Round, name: str) -> None:
    """Run a case that needs a namespace of its own; without the rights for one it is skipped."""
    binary = _binary(round)
    if binary is None:
        return
    folder = f"{round.folder}/{name}"
    os.mkdir(folder)
    with Program(f"stress.link.{name}", folder, binary) as program:
        line = program.line(_PROGRAM_S)
    if why := json.loads(line).get("skipped"):
        round.count(f"skipped ({name}: {why})")
    else:
        report.add_to_round(round, line, name)


def _has_confirmed(relay: Linked, count: int) -> bool:
    """Whether another host has committed all frames of a host, which holds so many deliveries for it."""
    return any(one.held >= count and one.sent == one.confirmed for one in _overview(relay))


def _wait_for_holds(relay: Linked, count: int) -> bool:
    """Wait until a host holds so many deliveries for others; returns False if it does not in time."""
    deadline = Deadline(_HELD_WITHIN_S)
    while sum(one.held for one in _overview(relay)) < count:
        if not deadline.left_s():
            return False
        time.sleep(0.05)
    return True


def _overview(relay: Linked) -> list[HostOverview]:
    with Exchange(relay.db, relay.name) as exchange:
        return exchange.overview()


CASES: dict[str, Callable[[Round], None]] = {
    "restored_receiver": restored_receiver,
    "restored_sender": restored_sender,
    "reused_numbers": reused_numbers,
    "cloned": cloned,
    "restarts": restarts,
    "stepped_clock": stepped_clock,
    "mixed_versions": mixed_versions,
    "full_disk": partial(in_program, name="full_disk"),
    "cut_cable": partial(in_program, name="cut_cable"),
}
