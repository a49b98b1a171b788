"""Let one short run of a bus die at one step after another: `... every_step FOLDER STEPS STRIDE FIRST [MOMENT]`.

STEPS is `io` or `line`, see self_kill.py. Each death has a folder of its own with a fresh bus, the journals of the run,
and what another process, that comes after it and is not killed, finds and writes down; then a line is printed: the
folder, and whether the run has died. The last one has not, since it has fewer steps. Nothing but sqlite3 opens a bus in
this process: the runs are its children.
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
from scripts.stress.history.dump import look
from scripts.stress.history.journal import Journal
from scripts.stress.kill9 import message_factory, self_kill
from scripts.stress.kill9.actor import LEASE_S, Part
from scripts.stress.kill9.consumer import book, finish
from scripts.stress.kill9.producer import send, send_keyed

_AUTO, _MANUAL, _LEDGER = "auto:kill9", "manual:kill9", "ledger:kill9"
_CODE_OF_FAILURE = 1


def run(folder: Path, life: int, doom: tuple[str, int, str] | None) -> None:
    """Send in every way, and take in every way; the parts are those of a storm, one after the other in one process."""
    db = str(folder / "bus.db")
    sender, auto, manual, ledger = (
        Part(f"{actor}.{life}", str(folder / "journals"), db, f"{actor}", None, False)
        for actor in ("sender", "auto", "manual", "ledger")
    )
    armed = None if doom is None else self_kill.arm(sender.journal, *doom)
    bus = BusClient.at("sender:outside", db)
    for message in message_factory.left_unsure(sender):
        send_keyed(sender, bus, message)
    maker = message_factory.Maker(sender)
    send(sender, bus, [maker.make([_AUTO, _MANUAL])], "send")
    send(sender, bus, [maker.make(to) for to in (_AUTO, _MANUAL, _LEDGER)], "many")
    keyed = {**maker.make(_AUTO), "dedup_key": f"{life}"}
    sender.journal.write("keyed", message=keyed)
    send_keyed(sender, bus, keyed)
    send(sender, bus, [maker.make(to) for to in (_LEDGER, _MANUAL)], "transaction")
    take_auto(auto, db, 2 if doom else 99)
    take_manual(manual, db, 2 if doom else 99)
    keep_ledger(ledger, db)
    bus.close()
    del armed


def take_auto(part: Part, db: str, most: int) -> None:
    """Take what is ready with automatic acks, and leave before all is taken."""
    bus = BusClient.at(_AUTO, db)
    part.consuming(bus.address, "auto", ahead=50, at_risk=1)
    left = bus.listen(timeout_s=0.02)
    for place, _ in enumerate(part.each(left), 1):
        if place == most:
            part.journal.write("leaving")
            left.close()  # type: ignore[attr-defined]
            break
    bus.close()


def take_manual(part: Part, db: str, most: int) -> None:
    """Claim some, and listen for the others."""
    bus = BusClient.at(_MANUAL, db)
    part.consuming(bus.address, "manual", lease_s=LEASE_S)
    part.journal.write("asking")
    messages: list[Message] = bus.claim(most, LEASE_S)
    for message in messages:
        part.received(message)
    for message in messages:
        finish(part, bus, message)
    for message in part.each(bus.listen(ack="manual", lease_s=LEASE_S, timeout_s=0.02)):
        finish(part, bus, message)
    bus.close()


def keep_ledger(part: Part, db: str) -> None:
    """Ack, write a row, and send on, in one transaction each."""
    bus = BusClient.at(_LEDGER, db)
    part.consuming(bus.address, "transaction", lease_s=LEASE_S)
    while True:
        part.journal.write("asking")
        messages = bus.claim(1, LEASE_S)
        if not messages:
            break
        part.received(messages[0])
        book(part, bus, messages[0])
    bus.close()


def found(folder: Path) -> None:
    """Make a bus with its addresses and the table of the effects."""
    with BusClient.at("founder:outside", str(folder / "bus.db")) as bus:
        bus.register(_AUTO, _MANUAL, _LEDGER, "audit:kill9")
        bus.execute(EFFECTS)


def in_child(act: Callable[[], None]) -> int:
    """Do something in a child, and return its exit code, or the number of its signal with a minus."""
    child = os.fork()
    if child == 0:
        code = _CODE_OF_FAILURE
        try:
            act()
            code = 0
        finally:
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def die_at(folder: Path, template: Path, doom: tuple[str, int, str]) -> bool:
    """Have a run die at a step, another go on after it, and look; returns whether it has died."""
    shutil.copytree(template, folder)
    watch = _keep_the_watch(folder)
    journal = Journal(folder / "journals", "parent")
    codes = []
    for life, fate in ((1, doom), (2, None)):
        names = [f"{actor}.{life}" for actor in ("sender", "auto", "manual", "ledger")]
        for name in names:
            journal.write("began", life=name)
        code = in_child(lambda life=life, fate=fate: run(folder, life, fate))  # type: ignore[misc]
        for name in names:
            journal.write("ended", life=name, code=code)
        codes.append(code)
    journal.close()
    bus = sqlite3.connect(folder / "bus.db", isolation_level=None)
    checked = [row[0] for row in bus.execute("PRAGMA integrity_check")]
    seen = {"codes": codes, "checked": checked, "look": look(bus)}
    bus.close()
    os.close(watch)
    (folder / "look.json").write_text(json.dumps(seen), encoding="utf-8")
    return codes[0] != 0


def _keep_the_watch(folder: Path) -> int:
    """Be the elected watch of a bus, so that none of its processes is: their steps are then those of one thread."""
    bells = folder / "bus.db-bells"
    bells.mkdir(mode=0o700, exist_ok=True)
    lock = os.open(bells / "watch.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def main() -> None:
    """Die at one step after another, until a run comes to its end."""
    folder, steps, stride, nth, moment = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
    template = folder / "template"
    template.mkdir()
    if in_child(lambda: found(template)):
        raise SystemExit("the bus cannot be made")
    while True:
        place = folder / f"{steps}-{moment}-{nth}"
        died = die_at(place, template, (steps, nth, moment))
        print(json.dumps([str(place), died]), flush=True)
        if not died:
            return
        nth += stride


if __name__ == "__main__":
    main()
