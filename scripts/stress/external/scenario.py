"""Foreign hands: a load goes on while other SQLite programs do to the bus what they like, and its files are handled."""

from __future__ import annotations

import os
import shutil
import time

from raven import BusClient, BusObserver
from scripts.stress.external import file_swap, sql_actions
from scripts.stress.external.traffic import Correspondence
from scripts.stress.history import checker
from scripts.stress.history.collect import left_in
from scripts.stress.history.journal import read
from scripts.stress.trial import Round

_SHORT_S = 20
# So much of the time is for the files that are replaced.
_SHARE = 0.75


def run(round: Round) -> None:
    """Let hands loose on one bus, at work and at rest in turn; then on another whose file is replaced."""
    is_short = round.seconds < _SHORT_S
    over_at = time.monotonic() + _SHARE * round.seconds
    db, journals = str(round.folder / "bus.db"), round.folder / "journals"
    phase = 0
    # The last one ends in peace, and takes what is left.
    while phase < 2 or phase % 2 or (not is_short and time.monotonic() < over_at):
        with Correspondence(round, db, journals, f"p{phase}") as load:
            for name in _chosen(round, phase, is_short):
                sql_actions.LIVE[name](round, load)
                load.expect_progress(name)
                round.count("external SQL actions")
            if is_killed := phase % 2 == 0:
                load.kill()
            else:
                load.stop()
        db = _at_rest(round, db, is_killed)
        phase += 1
    _judge(round, db)
    file_swap.run(round)


def _chosen(round: Round, phase: int, is_short: bool) -> list[str]:
    """Return which hands come in a phase; over two short phases, as over one long, each comes once."""
    names = sorted(sql_actions.LIVE)
    if is_short:
        names = names[phase % 2 :: 2]
    round.random.shuffle(names)
    return names


def _at_rest(round: Round, db: str, is_killed: bool) -> str:
    """Do something to the files of a bus that nobody has open; returns where it is from now on."""
    if is_killed:
        _look_without_wal(round, db)
    choice = sql_actions.AFTER_A_KILL if is_killed else sql_actions.AT_REST
    name = round.random.choice(sorted(choice))
    round.count("actions on an idle bus")
    return choice[name](round, os.path.realpath(db))


def _look_without_wal(round: Round, db: str) -> None:
    """See that a copy of a killed bus without its WAL is sound, and that only its last messages are missing."""
    copy = str(round.folder / f"without-{round.random.getrandbits(32)}.db")
    shutil.copyfile(db, copy)
    try:
        with BusObserver(copy) as bus:
            ids = [message.id for message in bus.tail(follow=False)]
    finally:
        round.count("reads without the WAL")
    round.expect(ids == [*range(1, len(ids) + 1)], f"without its WAL a bus lacks only its end, and has {len(ids)}")
    round.expect(sql_actions.run(copy, "PRAGMA integrity_check") == "ok", "without its WAL a bus is sound")


def _judge(round: Round, db: str) -> None:
    round.expect(sql_actions.run(db, "PRAGMA integrity_check") == "ok", "the bus is sound")
    with BusClient.at("founder:f", db) as bus:
        round.expect(bus.send("last:f", "note", ["last"]).id == bus.last_id(), "the bus is used on")
    journals = round.folder / "journals"
    events = list(read(journals))
    round.count("sends", sum(event.what == "sent" for event in events))
    round.count("messages received", sum(event.what == "received" for event in events))
    round.count("sends refused as busy", sum(event.what == "refused" for event in events))
    for event in events:
        if event.what in ("refused", "stopped") and not event.told["error"].startswith("BusyError"):
            round.report("broken", f"{event.life}, told without reason: {event.told['error']}")
    for verdict in checker.check(left_in(db, journals, "senders")):
        round.report(verdict.kind, verdict.what)
