"""`raven doctor` and processes: stale files, low descriptor limits, and a clock that went back."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from raven import BusClient
from raven.model import clock
from tests.doctor_process import DoctorProcess, assert_reports, problems, run_checks
from tests.processes import needs_proc
from tests.support import Foreign, Program

Connect = Callable[..., BusClient]
Spawn = Callable[..., Program]
HOUR = 3_600_000_000


@pytest.fixture
def bus(connect: Connect, db: str) -> str:
    """Create a bus with a message."""
    with connect("boss:s") as boss:
        boss.send("boss:s", "note", "to myself")
    return db


@needs_proc
@pytest.mark.parametrize("how", ["replaced", "moved", "its WAL deleted"])
@pytest.mark.process
def test_a_program_with_the_old_file_open_is_named(bus: str, foreign: Foreign, tmp_path: Path, how: str) -> None:
    foreign.value("SELECT count(*) FROM messages")
    before = run_checks(bus)["processes"]
    if how == "replaced":
        BusClient.at("boss:s", str(tmp_path / "new.db")).close()
        os.replace(tmp_path / "new.db", bus)
    elif how == "its WAL deleted":
        os.unlink(f"{bus}-wal")
        os.unlink(f"{bus}-shm")
    else:
        os.rename(bus, f"{bus}.moved")
        BusClient.at("boss:s", bus).close()

    check = run_checks(bus)["processes"]

    assert (before.verdict, before.found) == ("ok", "1 uses the bus")
    pid = foreign.program.pid
    assert_reports(check, "warn", f"pid {pid} (python", "deleted, moved or replaced", f"restart pid {pid}")
    foreign.program.kill()
    assert "processes" not in run_checks(bus)


@needs_proc
@pytest.mark.process
def test_a_process_short_of_descriptors_is_reported_with_its_limit(bus: str, foreign: Foreign) -> None:
    foreign.value("SELECT count(*) FROM messages")
    pid = foreign.program.pid
    count = len(os.listdir(f"/proc/{pid}/fd"))
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (count + 1, hard))

    check = run_checks(bus)["processes"]

    assert_reports(check, "warn", f"pid {pid} ", f"has {count} of {count + 1} files open", f"prlimit --pid {pid}")
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (1000, hard))
    assert run_checks(bus)["processes"].verdict == "ok"


def test_a_low_descriptor_limit_of_this_shell_is_reported(bus: str, spawn: Spawn) -> None:
    process = DoctorProcess(spawn("doctor", bus))
    process.limit("RLIMIT_NOFILE", 40)
    low = process.run_checks()
    process.limit("RLIMIT_NOFILE", None)

    assert_reports(low["processes"], "warn", "40 files open", "ulimit -n 1024")
    assert not problems(process.run_checks())


@pytest.mark.parametrize(
    ("table", "column"), [("messages", "created_at"), ("identities", "last_seen"), ("deliveries", "delivered_at")]
)
def test_future_entries_show_how_far_the_clock_went_back(
    bus: str, connect: Connect, foreign: Foreign, table: str, column: str
) -> None:
    connect("boss:s").claim(lease_s=3600)
    foreign.execute(f"UPDATE {table} SET {column} = {column} + {HOUR}")

    check = run_checks(bus)["clock"]

    seconds = check.found.split(" s in the future")[0].rpartition(" ")[2]
    assert_reports(check, "warn", "the clock went back", "timedatectl")
    assert 3590 <= int(seconds.replace(",", "")) <= 3600
    foreign.execute(f"UPDATE {table} SET {column} = {column} - {HOUR}")
    assert not problems(run_checks(bus))


@pytest.mark.parametrize(
    ("now", "words"), [(lambda real: real - HOUR, "the clock went back"), (lambda _: HOUR, "1970-01-01T01:00:00")]
)
def test_a_clock_that_is_behind_is_reported_with_its_time(
    bus: str, monkeypatch: pytest.MonkeyPatch, now: Callable[[int], int], words: str
) -> None:
    read = clock.now
    # As in scripts/stress/clock/run_with_offset.py: changing the system's clock would change the whole machine.
    monkeypatch.setattr(clock, "now", lambda: now(read()))
    behind = run_checks(bus)
    monkeypatch.undo()

    assert_reports(behind["clock"], "warn", words, "timedatectl")
    assert not problems(run_checks(bus))


def test_a_lease_beyond_the_longest_one_is_reported(bus: str, connect: Connect, foreign: Foreign) -> None:
    with connect("boss:s") as boss:
        (held,) = boss.claim(lease_s=86400)
        longest = run_checks(bus)
        foreign.execute(f"UPDATE deliveries SET ready_at = ready_at + {HOUR} WHERE lease IS NOT NULL")
        late = run_checks(bus)
        boss.nack(held.id)

    assert not problems(longest)
    assert_reports(late["clock"], "warn", "a lease ends in ", "none is longer than 86,400", "raven nack")
    assert not problems(run_checks(bus))


def test_mail_under_a_lease_is_no_backlog(bus: str, connect: Connect) -> None:
    with connect("boss:s") as boss:
        boss.claim(lease_s=3600)
        held = run_checks(bus)
        boss.send("worker:s", "job", "unclaimed")
        waiting = run_checks(bus)

    assert held["backlog"].verdict == "ok"
    assert_reports(waiting["backlog"], "warn", "worker:s (1, oldest 0 s)")
