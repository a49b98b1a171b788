"""External: processes send and receive while other SQLite programs act on the bus, and its files are replaced."""

from __future__ import annotations

import os
import shutil
import time

from raven import BusClient, BusObserver
from scripts.stress.external import file_swap, sql_actions
from scripts.stress.external.traffic import Traffic
from scripts.stress.history import checker
from scripts.stress.history.collect import collect_history
from scripts.stress.history.journal import read
from scripts.stress.trial import Round

_SHORT_S = 20
# The share of the time before the part with replaced files.
_SHARE = 0.75


def run(round: Round) -> None:
    """Run external actions on one bus, in use and idle by turns; then replace the file of another bus."""
    is_short = round.seconds < _SHORT_S
    over_at = time.monotonic() + _SHARE * round.seconds
    db, journals = str(round.folder / "bus.db"), round.folder / "journals"
    phase = 0
    # The last phase ends without a kill, and its receivers take all messages.
    while phase < 2 or phase % 2 or (not is_short and time.monotonic() < over_at):
        with Traffic(round, db, journals, f"p{phase}") as traffic:
            for name in _choose_actions(round, phase, is_short):
                sql_actions.LIVE_ACTIONS[name](round, traffic)
                traffic.expect_progress(name)
                round.count("external SQL actions")
            if is_killed := phase % 2 == 0:
                traffic.kill()
            else:
                traffic.stop()
        db = _act_on_idle_bus(round, db, is_killed)
        phase += 1
    _judge(round, db)
    file_swap.run(round)


def _choose_actions(round: Round, phase: int, is_short: bool) -> list[str]:
    """Return the actions of a phase, in random order: all of them, or half of them in a short round."""
    names = sorted(sql_actions.LIVE_ACTIONS)
    if is_short:
        names = names[phase % 2 :: 2]
    round.random.shuffle(names)
    return names


def _act_on_idle_bus(round: Round, db: str, is_killed: bool) -> str:
    """Act on the files of a bus that no process has open; returns its new path."""
    if is_killed:
        _read_without_wal(round, db)
    actions = sql_actions.AFTER_KILL_ACTIONS if is_killed else sql_actions.IDLE_ACTIONS
    name = round.random.choice(sorted(actions))
    round.count("actions on an idle bus")
    return actions[name](round, os.path.realpath(db))


def _read_without_wal(round: Round, db: str) -> None:
    """Check that a copy of a killed bus without its WAL is sound, and lacks only the newest messages."""
    copy = str(round.folder / f"without-{round.random.getrandbits(32)}.db")
    shutil.copyfile(db, copy)
    try:
        with BusObserver(copy) as bus:
            ids = [message.id for message in bus.tail(follow=False)]
    finally:
        round.count("reads without the WAL")
    text = f"a bus without its WAL should lack only the newest messages, and has {len(ids)}"
    round.expect(ids == [*range(1, len(ids) + 1)], text)
    is_sound = sql_actions.run(copy, "PRAGMA integrity_check") == "ok"
    round.expect(is_sound, "a bus without its WAL should be sound")


def _judge(round: Round, db: str) -> None:
    round.expect(sql_actions.run(db, "PRAGMA integrity_check") == "ok", "the bus should be sound")
    with BusClient.at("setup:f", db) as bus:
        is_stored = bus.send("last:f", "note", ["last"]).id == bus.last_id()
        round.expect(is_stored, "the bus should accept another message")
    journals = round.folder / "journals"
    events = list(read(journals))
    round.count("sends", sum(event.type == "sent" for event in events))
    round.count("messages received", sum(event.type == "received" for event in events))
    round.count("sends refused as busy", sum(event.type == "refused" for event in events))
    for event in events:
        if event.type in ("refused", "stopped") and not event.fields["error"].startswith("BusyError"):
            round.report("broken", f"{event.process} got an unexpected error: {event.fields['error']}")
    for verdict in checker.check(collect_history(db, journals, "senders")):
        round.report(verdict.kind, verdict.text)
