"""Strangers: another user attacks the files beside a bus, in a sticky and in an open folder, while its owner works.

The stranger plants files of every type at the path of every companion, locks what it can, listens and reads. It must
learn nothing and get nothing in, and the owner's open clients must go on. A new client may be refused while a planted
file is there; then the error names the stranger or the file. The stranger removes no file of the owner, which the
owner of a file in an open folder cannot prevent.
"""

from __future__ import annotations

import os
import tempfile
import time

from scripts.stress.strangers.child import Child, import_all
from scripts.stress.strangers.owner import Owner
from scripts.stress.strangers.stranger import Stranger
from scripts.stress.trial import Round

_OWNER_UID, _STRANGER_UID = 3002, 3001
_MAX_ROUND_S = 10.0
_MODES = {"sticky": 0o1777, "open": 0o777}
# A start that planted files delay, the last messages, and a loaded machine.
_ENDING_S = 100.0


def run(round: Round) -> None:
    """Let the two users work in a folder of one kind, and compare what each has seen."""
    if os.geteuid() != 0:
        round.count("rounds left out, because only root can be two users")
        return
    import_all()
    kind = sorted(_MODES)[round.seed % len(_MODES)]
    # Not in the round's folder: those above it are closed to other users.
    with tempfile.TemporaryDirectory(prefix="raven-strangers-", ignore_cleanup_errors=True) as folder:
        os.chmod(folder, _MODES[kind])
        work = os.path.join(folder, "work")
        os.mkdir(work, 0o700)
        precious = os.path.join(work, "precious")
        with open(precious, "w", encoding="utf-8") as file:
            file.write("mine")
        for path in (work, precious):
            os.chown(path, _OWNER_UID, _OWNER_UID)
        _attack(round, os.path.join(folder, "bus.db"), precious)
        with open(precious, encoding="utf-8") as file:
            round.expect(file.read() == "mine", "no file of the owner may change by a planted link")
    round.count(f"rounds in folders that are {kind}")


def _attack(round: Round, db: str, precious: str) -> None:
    deadline = time.monotonic() + min(round.seconds, _MAX_ROUND_S)
    folder = os.path.dirname(db)
    seeds = [round.random.randrange(1 << 32) for _ in range(2)]
    stranger = Child(_STRANGER_UID, folder, Stranger(db, precious, seeds[0], deadline).attack)
    owner = Child(_OWNER_UID, folder, Owner(db, _STRANGER_UID, seeds[1], deadline).work)
    attacked = stranger.result(_MAX_ROUND_S + _ENDING_S)
    worked = owner.result(_MAX_ROUND_S + _ENDING_S)
    for action, times in (attacked["counts"] | worked["counts"]).items():
        round.count(action, times)
    for text in attacked["learned"]:
        round.report("broken", f"the stranger should learn nothing, but {text}")
    for text in worked["wrong"]:
        round.report("broken", text)
    for body in worked["planted"]:
        round.report("broken", f"the worker received a message that its owner did not send: {body[:60]}")
    for body in worked["lost"]:
        round.report("lost", f"{body} was sent and not received")
    for body in worked["twice"]:
        round.report("duplicated", f"{body} was received twice")
