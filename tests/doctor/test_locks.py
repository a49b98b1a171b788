"""`raven doctor` and SQLite: a held lock, a reader that blocks checkpoints, the journal mode, a changed schema."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import raven
from raven import BusClient
from tests.cli.shell import Shell
from tests.doctor_process import assert_reports, problems, run_checks
from tests.processes import needs_proc
from tests.support import Foreign, Program, needs, wait_until

Connect = Callable[..., BusClient]
Spawn = Callable[..., Program]
BUSY_TIMEOUT_S = 0.3


def hold(spawn: Spawn, db: str, *statements: str) -> Foreign:
    """Start a client that runs these statements and then stays idle."""
    holder = Foreign(spawn("external_writer", db))
    for statement in statements:
        holder.execute(statement)
    return holder


@needs_proc
def test_a_writer_that_holds_the_lock_is_named(bus: str, spawn: Spawn) -> None:
    holder = hold(spawn, bus, "BEGIN IMMEDIATE")

    check = run_checks(bus, busy_timeout_s=BUSY_TIMEOUT_S)["file"]

    assert_reports(
        check, "warn", "locked by another writer", f"pid {holder.program.pid} (python", "external_writer.py", "end it"
    )
    holder.execute("COMMIT")
    assert not problems(run_checks(bus))


@needs_proc
def test_a_stopped_writer_is_reported_as_stopped(bus: str, spawn: Spawn) -> None:
    holder = hold(spawn, bus, "BEGIN IMMEDIATE")
    holder.program.signal(signal.SIGSTOP)

    checks = wait_until(
        lambda: (
            (checks := run_checks(bus, busy_timeout_s=BUSY_TIMEOUT_S)) and "stopped" in checks["file"].found and checks
        ),
        "the end of its running",
    )

    assert_reports(checks["file"], "warn", f"pid {holder.program.pid} ", "which is stopped")
    assert_reports(
        checks["processes"],
        "warn",
        f"pid {holder.program.pid} ",
        "holds the writer's lock",
        f"kill -CONT {holder.program.pid}",
    )
    holder.program.signal(signal.SIGCONT)
    holder.execute("COMMIT")
    assert not problems(run_checks(bus))


@needs_proc
def test_a_program_in_exclusive_locking_mode_is_named(bus: str, spawn: Spawn) -> None:
    holder = hold(spawn, bus, "PRAGMA locking_mode = EXCLUSIVE", "BEGIN IMMEDIATE", "COMMIT")

    check = run_checks(bus, busy_timeout_s=BUSY_TIMEOUT_S)["file"]

    assert_reports(check, "fail", "locked", f"pid {holder.program.pid} (python")
    holder.program.kill()
    assert not problems(run_checks(bus))


@needs_proc
def test_a_reader_that_blocks_checkpoints_is_named_while_the_wal_is_still_small(
    bus: str, spawn: Spawn, connect: Connect
) -> None:
    reader = hold(spawn, bus, "BEGIN", "SELECT count(*) FROM messages")
    connect("boss:s").send("worker:s", "job", "x" * 20_000)

    check = run_checks(bus)["journal"]

    assert_reports(
        check, "warn", f"pid {reader.program.pid} (python", "has read for 2", "pages of the WAL cannot be checkpointed"
    )
    assert "MiB" not in check.found
    reader.execute("COMMIT")
    assert not problems(run_checks(bus))


@needs_proc
def test_a_long_reader_is_named_before_the_first_write(bus: str, spawn: Spawn) -> None:
    reader = hold(spawn, bus, "BEGIN", "SELECT count(*) FROM messages")

    assert_reports(run_checks(bus)["journal"], "warn", f"pid {reader.program.pid} ", "the WAL will grow", "COMMIT")
    reader.program.kill()
    assert not problems(run_checks(bus))


def test_a_long_wal_is_reported_with_its_size(bus: str, foreign: Foreign, connect: Connect) -> None:
    foreign.execute("PRAGMA wal_autocheckpoint = 0")
    foreign.execute("CREATE TABLE theirs AS SELECT zeroblob(130 << 20) AS x")

    check = run_checks(bus)["journal"]

    assert_reports(check, "warn", "the WAL has 131 MiB", "raven's next writes")
    connect("boss:s").send("worker:s", "job", "the next")
    assert not problems(run_checks(bus))


@pytest.mark.process
def test_another_journal_mode_fails_until_raven_has_used_the_bus(bus: str, foreign: Foreign, connect: Connect) -> None:
    assert foreign.value("PRAGMA journal_mode = DELETE") == "delete"
    foreign.program.kill()

    first, second = run_checks(bus), run_checks(bus)

    assert_reports(first["journal"], "fail", "mode delete, not wal", "raven stats")
    assert second["journal"].verdict == "fail", "it changes nothing"
    connect("worker:s").close()
    assert not problems(run_checks(bus))


def test_a_foreign_trigger_and_index_are_reported_with_how_to_drop_them(bus: str, foreign: Foreign) -> None:
    foreign.execute("CREATE TABLE theirs (x)")
    foreign.execute("CREATE INDEX of_their_own ON theirs (x)")
    harmless = run_checks(bus)
    foreign.execute('CREATE TRIGGER "spy""s" AFTER INSERT ON messages BEGIN INSERT INTO theirs VALUES (NEW.body); END')
    foreign.execute("CREATE INDEX slow ON deliveries (reason)")

    check = run_checks(bus)["schema"]

    assert not problems(harmless), "what hangs on a table of their own is theirs"
    assert_reports(check, "warn", "a foreign trigger spy\"s is on raven's messages", "a foreign index slow")
    for statement in ('DROP TRIGGER "spy""s"', 'DROP INDEX "slow"'):
        assert statement in check.remedy
        foreign.execute(statement)
    assert not problems(run_checks(bus))


def test_the_remedy_recreates_a_missing_index(bus: str, foreign: Foreign) -> None:
    foreign.execute("DROP INDEX messages_dedup")

    check = run_checks(bus)["schema"]

    assert_reports(check, "fail", "the index messages_dedup is missing")
    foreign.execute(check.remedy.partition(": ")[2])
    assert not problems(run_checks(bus))


def test_the_remedy_recreates_missing_or_changed_views(bus: str, foreign: Foreign) -> None:
    needs("sqlite3")
    foreign.execute("DROP VIEW pending")
    foreign.execute("DROP TRIGGER outbox_insert")
    foreign.execute("CREATE TRIGGER outbox_insert INSTEAD OF INSERT ON outbox BEGIN SELECT 1; END")

    check = run_checks(bus)["schema"]

    assert_reports(check, "fail", "the view pending is missing", "the trigger outbox_insert differs from raven's own")
    assert str(Path(raven.__file__).parent / "store" / "sql" / "views.sql") in check.remedy
    subprocess.run(check.remedy.split("`")[1], shell=True, check=True)
    assert not problems(run_checks(bus))


def test_a_missing_table_fails_clearly_and_stops_no_other_check(bus: str, foreign: Foreign, shell: Shell) -> None:
    foreign.execute("DROP TABLE identities")

    done = shell.run("doctor")

    assert (done.returncode, done.stderr) == (1, "")
    assert "fail  schema: the table identities is missing" in done.stdout
    assert "ok    dead letters: none" in done.stdout
