"""Upgrade: many processes open a bus of the first release, and some are killed; a bus of a newer schema is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from raven import BusClient, BusObserver, NewerSchemaError, NotABusError, RavenError
from raven.store.sql import migrations
from scripts.harness.program import Program
from scripts.stress.trial import Round
from scripts.stress.upgrade import old_bus

_SHORT_S = 20
_STEP_TIMEOUT_S = 120
_COMMANDS = {
    "send": ("send", "--from", "boss:s", "--to", "worker:s", "--type", "note"),
    "inbox": ("inbox", "--role", "worker:s"),
    "serve": ("serve",),
    "doctor": ("doctor",),
}
_REFUSED = 3
# The doctor's exit code: it reports the schema among its other findings.
_UNHEALTHY = 1
# Tables that another program may have: the same names, without raven's application_id.
_OTHER_PROGRAM = """
CREATE TABLE messages (id TEXT PRIMARY KEY, sender TEXT, recipient TEXT, type TEXT, body TEXT, status TEXT);
CREATE TABLE deliveries (id INTEGER PRIMARY KEY, message_id TEXT, recipient TEXT, state TEXT);
INSERT INTO messages VALUES ('5d9c', 'conductor:swarm-1', 'architect:swarm-1', 'plan', '{"step": 1}', 'sent');
"""


def run(round: Round) -> None:
    """Upgrade copies of the old bus, in every state in which it was left; refuse newer and other databases."""
    races = 2 if round.seconds < _SHORT_S else 30
    stride = 14 if round.seconds < _SHORT_S else 1
    for state in old_bus.STATES:
        path = old_bus.write(round.folder / f"{state}.db", state)
        _upgrade(round, path, stride, races)
        round.count("old buses")
    _refuse_newer(round)
    _refuse_other(round)


def _upgrade(round: Round, path: str, stride: int, races: int) -> None:
    """Upgrade copies of an old bus by processes that are killed during the upgrade, alone and together."""
    first = round.random.randint(1, stride)
    seed = round.random.getrandbits(32)
    with Program("stress.upgrade.kill_in_upgrade", path, *map(str, (first, stride, races, seed))) as upgraders:
        while (line := upgraders.line(_STEP_TIMEOUT_S)) != "end":
            result = json.loads(line)
            round.count("upgrades")
            round.count("kills", result["killed"])
            for difference in result["differences"]:
                round.report("broken", f"{result['copy']}, killed at {result['steps']}: {difference}")


def _refuse_newer(round: Round) -> None:
    """Check that all ways to open a bus refuse a newer schema, and leave the file unchanged."""
    path = old_bus.write(round.folder / "newer.db")
    _run_sql(path, f"PRAGMA user_version = {len(migrations()) + 1}")
    before = _content(round.folder, "newer.db")
    for kind in (BusClient, BusObserver):
        try:
            (BusClient.at("worker:s", path) if kind is BusClient else BusObserver(path)).close()
            round.report("broken", f"a {kind.__name__} opens a bus of a newer schema")
        except NewerSchemaError as error:
            round.expect("upgrade raven" in str(error), f"the error should say 'upgrade raven': {error}")
    for name, command in _COMMANDS.items():
        done = subprocess.run(
            [sys.executable, "-m", "raven", *command],
            env={**os.environ, "RAVEN_DB": path},
            cwd=round.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        expected = _UNHEALTHY if name == "doctor" else _REFUSED
        round.expect(done.returncode == expected, f"raven {name} should end with {expected}: {done.returncode}")
        round.expect(
            "upgrade raven" in done.stdout + done.stderr, f"raven {name} should say 'upgrade raven': {done.stderr}"
        )
        round.count("refused files")
    round.expect(
        _content(round.folder, "newer.db") == before, "a bus of a newer schema should stay unchanged, to the byte"
    )


def _refuse_other(round: Round) -> None:
    """Check that a database of another program is refused, and left unchanged."""
    path = str(round.folder / "other.db")
    _run_sql(path, _OTHER_PROGRAM)
    for mode in ("DELETE", "WAL"):
        _run_sql(path, f"PRAGMA journal_mode = {mode}")
        before = _content(round.folder, "other.db")
        try:
            BusClient.at("worker:s", path).close()
            round.report("broken", "a database of another program was opened")
        except NotABusError:
            round.count("refused files")
        except RavenError as error:
            round.report("broken", f"a database of another program raises {type(error).__name__}: {error}")
        round.expect(
            _content(round.folder, "other.db") == before, "a database of another program should stay unchanged"
        )


def _run_sql(path: str, script: str) -> None:
    """Run SQL with Python's own SQLite, in a separate process."""
    code = "import sqlite3, sys\nconnection = sqlite3.connect(sys.argv[1])\nconnection.executescript(sys.argv[2])"
    subprocess.run([sys.executable, "-c", code, path, script], check=True, timeout=60)


def _content(folder: Path, name: str) -> dict[str, bytes]:
    """Return the files of a bus that no process has open."""
    return {path.name: path.read_bytes() for path in folder.glob(f"{name}*") if path.is_file()}
