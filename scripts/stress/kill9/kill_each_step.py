"""Kill a short run of a bus at one step after another: `... kill_each_step FOLDER STEPS STRIDE FIRST MOMENT`.

STEPS is `io` or `line`, see self_kill.py. Each run has a folder of its own: a fresh bus, its journals, and the results
of a second run that follows and is not killed. Then a line is printed: the folder, and whether the run was killed. The
last run is not killed, since it has fewer steps. This process opens a bus only with sqlite3: the runs are its children.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

from raven import BusClient, Message
from scripts.stress.history.call_recorder import EFFECTS
from scripts.stress.history.dump import dump
from scripts.stress.history.journal import Journal
from scripts.stress.kill9 import message_factory, self_kill
from scripts.stress.kill9.actor import LEASE_S, Actor
from scripts.stress.kill9.consumer import ack_in_transaction, ack_or_nack
from scripts.stress.kill9.producer import send, send_keyed

_AUTO, _MANUAL, _TRANSACTION = "auto:kill9", "manual:kill9", "transaction:kill9"
_ACTORS = ("sender", "auto", "manual", "transaction")
_FAILURE_CODE = 1


def run(folder: Path, number: int, kill_point: tuple[str, int, str] | None) -> None:
    """Send and receive in every mode: the actors of the trial, one after the other in one process."""
    db = str(folder / "bus.db")
    sender, auto, manual, transaction = (
        Actor(f"{name}.{number}", str(folder / "journals"), db, name, None, False) for name in _ACTORS
    )
    armed = None if kill_point is None else self_kill.arm(sender.journal, *kill_point)
    bus = BusClient.at("sender:outside", db)
    for message in message_factory.unconfirmed(sender):
        send_keyed(sender, bus, message)
    factory = message_factory.MessageFactory(sender)
    send(sender, bus, [factory.make([_AUTO, _MANUAL])], "send")
    send(sender, bus, [factory.make(to) for to in (_AUTO, _MANUAL, _TRANSACTION)], "many")
    keyed = {**factory.make(_AUTO), "dedup_key": f"{number}"}
    sender.journal.write("keyed", message=keyed)
    send_keyed(sender, bus, keyed)
    send(sender, bus, [factory.make(to) for to in (_TRANSACTION, _MANUAL)], "transaction")
    receive_auto(auto, db, 2 if kill_point else 99)
    receive_manual(manual, db, 2 if kill_point else 99)
    receive_in_transactions(transaction, db)
    bus.close()
    del armed


def receive_auto(actor: Actor, db: str, limit: int) -> None:
    """Receive ready messages with automatic acks, and leave the loop after `limit` of them."""
    bus = BusClient.at(_AUTO, db)
    actor.consuming(bus.address, "auto", prefetch=50, at_risk=1)
    messages = bus.listen(timeout_s=0.02)
    for count, _ in enumerate(actor.each(messages), 1):
        if count == limit:
            actor.journal.write("leaving")
            messages.close()  # type: ignore[attr-defined]
            break
    bus.close()


def receive_manual(actor: Actor, db: str, limit: int) -> None:
    """Claim up to `limit` messages, and listen for the others."""
    bus = BusClient.at(_MANUAL, db)
    actor.consuming(bus.address, "manual", lease_s=LEASE_S)
    actor.journal.write("asking")
    messages: list[Message] = bus.claim(limit, LEASE_S)
    for message in messages:
        actor.received(message)
    for message in messages:
        ack_or_nack(actor, bus, message)
    for message in actor.each(bus.listen(ack="manual", lease_s=LEASE_S, timeout_s=0.02)):
        ack_or_nack(actor, bus, message)
    bus.close()


def receive_in_transactions(actor: Actor, db: str) -> None:
    """Ack each message, write a row, and send on, in one transaction."""
    bus = BusClient.at(_TRANSACTION, db)
    actor.consuming(bus.address, "transaction", lease_s=LEASE_S)
    while True:
        actor.journal.write("asking")
        messages = bus.claim(1, LEASE_S)
        if not messages:
            break
        actor.received(messages[0])
        ack_in_transaction(actor, bus, messages[0])
    bus.close()


def create_bus(folder: Path) -> None:
    """Create a bus with its addresses and the table of the effects."""
    with BusClient.at("setup:outside", str(folder / "bus.db")) as bus:
        bus.register(_AUTO, _MANUAL, _TRANSACTION, "audit:kill9")
        bus.execute(EFFECTS)


def in_child(act: Callable[[], None]) -> int:
    """Call `act` in a child process, and return its exit code, or its signal as a negative number."""
    child = os.fork()
    if child == 0:
        code = _FAILURE_CODE
        try:
            act()
            code = 0
        finally:
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill_at(folder: Path, template: Path, kill_point: tuple[str, int, str]) -> bool:
    """Kill a run at a step, complete a second run, and dump the bus; returns whether the first run was killed."""
    shutil.copytree(template, folder)
    lock = _hold_watcher_lock(folder)
    journal = Journal(folder / "journals", "parent")
    codes = []
    for number, point in ((1, kill_point), (2, None)):
        processes = [f"{name}.{number}" for name in _ACTORS]
        for process in processes:
            journal.write("began", process=process)
        code = in_child(lambda number=number, point=point: run(folder, number, point))  # type: ignore[misc]
        for process in processes:
            journal.write("ended", process=process, code=code)
        codes.append(code)
    journal.close()
    bus = sqlite3.connect(folder / "bus.db", isolation_level=None)
    integrity = [row[0] for row in bus.execute("PRAGMA integrity_check")]
    result = {"codes": codes, "integrity": integrity, "dump": dump(bus)}
    bus.close()
    os.close(lock)
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")
    return codes[0] != 0


def _hold_watcher_lock(folder: Path) -> int:
    """Hold the watcher's lock, so that the runs watch nothing: their steps are then the steps of one thread."""
    bells = folder / "bus.db-bells"
    bells.mkdir(mode=0o700, exist_ok=True)
    lock = os.open(bells / "watch.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def main() -> None:
    """Kill a run at one step after another, until a run completes."""
    folder, steps, stride, nth, moment = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
    template = folder / "template"
    template.mkdir()
    if in_child(lambda: create_bus(template)):
        raise SystemExit("the bus could not be created")
    while True:
        run_folder = folder / f"{steps}-{moment}-{nth}"
        was_killed = kill_at(run_folder, template, (steps, nth, moment))
        print(json.dumps([str(run_folder), was_killed]), flush=True)
        if not was_killed:
            return
        nth += stride


if __name__ == "__main__":
    main()
