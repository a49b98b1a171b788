"""`raven doctor` and subscribers: deleted, replaced or unanswered doorbells, and no WAL watcher."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from raven import BusClient
from raven.wake import watcher as watcher_module
from tests.doctor_process import DoctorProcess, assert_reports, problems, put_file, run_checks
from tests.processes import needs_proc
from tests.support import NEVER_POLLS_S, Foreign, Program, wait_for_waiting, wait_for_watch, wait_until

Connect = Callable[..., BusClient]
Spawn = Callable[..., Program]
WORKER = "worker:s"
# Ages all entries by two minutes.
AGE = "UPDATE {} SET {} = {} - 120000000"


def subscribe(spawn: Spawn, db: str, **options: object) -> Program:
    """Start a subscriber without a fallback poll, and wait until it waits and is the WAL watcher."""
    program = spawn("subscriber", db, WORKER, json.dumps({"poll_interval_s": NEVER_POLLS_S, **options}))
    wait_for_waiting(db, WORKER)
    wait_for_watch(db, program)
    return program


def doorbell(db: str) -> Path:
    """Return the path of the only doorbell."""
    (path,) = Path(f"{db}-bells").glob("*/*")
    return path


def test_a_subscriber_that_died_waiting_is_named_until_it_waits_again(bus: str, spawn: Spawn) -> None:
    worker = subscribe(spawn, bus)
    worker.kill()

    assert_reports(run_checks(bus)["doorbells"], "warn", f"{WORKER} (pid {worker.pid})", "start them again")
    assert doorbell(bus).is_fifo(), "the doctor removes nothing"
    subscribe(spawn, bus)
    assert not problems(run_checks(bus))


def test_a_door_is_no_subscriber_but_mail_at_it_is_attended_if_subscribers_wait_behind_it(
    bus: str, spawn: Spawn, connect: Connect
) -> None:
    boss, doors = connect("boss:s"), {WORKER: True, "idle:s": False, "busy:s": True}
    for address in doors:
        boss.send(address, "job")
    holder = spawn("doors_holder", bus, json.dumps(doors))
    holder.read()

    checks = run_checks(bus)

    assert "subscribers" not in checks
    assert checks["backlog"].found.startswith("ready mail without a subscriber: idle:s (1, oldest ")
    assert "busy:s" not in checks["backlog"].found
    assert not problems(checks)
    subscribe(spawn, bus).kill()
    found = run_checks(bus)["doorbells"].found
    assert found.startswith("ended while waiting, without removing its doorbell: worker:s (pid ")
    holder.kill()
    assert run_checks(bus)["doorbells"].found == found


@pytest.mark.parametrize("kind", ["a file", "a folder", "a symlink"])
def test_a_foreign_file_in_the_place_of_a_doorbell_is_named(bus: str, spawn: Spawn, kind: str) -> None:
    worker = subscribe(spawn, bus)
    place = doorbell(bus)
    worker.signal(signal.SIGSTOP)  # or it would hang up another doorbell within a second
    place.unlink()
    put_file(place, kind)

    checks = run_checks(bus)

    assert_reports(
        checks["doorbells"], "warn", f"{place} is {kind} in the place of a doorbell", "restart its subscriber"
    )
    worker.kill()
    subprocess.run(checks["doorbells"].remedy.split("`")[1], shell=True, check=True)
    assert not problems(run_checks(bus))


@needs_proc
def test_a_deleted_doorbell_is_reported_with_its_process(bus: str, spawn: Spawn) -> None:
    worker = subscribe(spawn, bus)
    worker.signal(signal.SIGSTOP)  # or it would hang up another doorbell within a second
    shutil.rmtree(f"{bus}-bells")

    checks = run_checks(bus)

    assert_reports(checks["subscribers"], "warn", f"pid {worker.pid} (python", "a doorbell that was deleted")
    worker.kill()
    subscribe(spawn, bus)
    assert not problems(run_checks(bus))


def test_a_bells_folder_that_is_a_symlink_is_reported(bus: str, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    shutil.rmtree(f"{bus}-bells", ignore_errors=True)
    os.symlink(tmp_path / "elsewhere", f"{bus}-bells")

    check = run_checks(bus)["doorbells"]

    assert_reports(check, "warn", f"{bus}-bells is a symlink to {tmp_path / 'elsewhere'}", f"rm {bus}-bells")
    os.unlink(f"{bus}-bells")
    assert not problems(run_checks(bus))


def test_doorbells_open_to_others_are_reported_with_the_chmod(bus: str, spawn: Spawn) -> None:
    worker = subscribe(spawn, bus)
    worker.signal(signal.SIGSTOP)  # or it would hang up another doorbell within a second
    opened = {Path(f"{bus}-bells"): 0o755, doorbell(bus).parent: 0o777, doorbell(bus): 0o666}
    for path, mode in opened.items():
        path.chmod(mode)

    check = run_checks(bus)["doorbells"]

    assert_reports(check, "warn", *[f"{path} is open to others (mode {mode:04o})" for path, mode in opened.items()])
    for step in check.remedy.split("`")[1::2]:
        subprocess.run(step, shell=True, check=True)
    worker.signal(signal.SIGCONT)
    wait_until(lambda: not problems(run_checks(bus)), "its going on")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_a_bells_folder_of_another_user_is_reported(bus: str) -> None:
    folder = Path(f"{bus}-bells")
    folder.mkdir(exist_ok=True, mode=0o700)
    os.chown(folder, 12345, 12345)

    check = run_checks(bus)["doorbells"]

    assert_reports(check, "warn", f"{folder} is user 12345's", f"rm -r {folder}")
    subprocess.run(check.remedy.split("`")[1], shell=True, check=True)
    assert not problems(run_checks(bus))


@needs_proc
def test_a_stopped_subscriber_is_named_with_its_address_and_as_the_wal_watcher(bus: str, spawn: Spawn) -> None:
    worker = subscribe(spawn, bus)
    worker.signal(signal.SIGSTOP)

    checks = wait_until(lambda: problems(checks := run_checks(bus)) and checks, "the end of its running")

    go_on = f"kill -CONT {worker.pid}"
    assert_reports(checks["processes"], "warn", f"pid {worker.pid} ", f"is stopped; it waits at {WORKER}", go_on)
    assert_reports(checks["watch"], "warn", f"pid {worker.pid} ", "is stopped", go_on)
    worker.signal(signal.SIGCONT)
    wait_until(lambda: not problems(run_checks(bus)), "its going on")


@needs_proc
@pytest.mark.parametrize("how", ["rang", "is full"])
def test_a_subscriber_that_has_not_answered_for_long_is_named(
    bus: str, spawn: Spawn, connect: Connect, foreign: Foreign, how: str
) -> None:
    worker = subscribe(spawn, bus, hold_after=1)
    boss = connect("boss:s")
    boss.send(WORKER, "job", "it is stuck at this one")
    worker.read()
    boss.send(WORKER, "job", "it never gets to this one")
    with open(doorbell(bus), "wb", buffering=0) as pipe:
        os.set_blocking(pipe.fileno(), False)
        while how == "is full" and pipe.write(b"!" * 4096):
            pass
    busy = run_checks(bus)
    for table, column in (("messages", "created_at"), ("deliveries", "delivered_at"), ("deliveries", "finished_at")):
        foreign.execute(AGE.format(table, column, column))

    stuck = run_checks(bus)["subscribers"]

    assert not problems(busy), "to be busy for a moment is no fault"
    assert_reports(
        stuck, "warn", f"pid {worker.pid} ", f"waits at {WORKER} and does not answer", f"its doorbell {how}", "1 ready"
    )
    worker.tell()
    worker.read()
    wait_until(lambda: not problems(run_checks(bus)), "its answer")


@needs_proc
def test_a_missing_wal_watcher_is_reported_until_there_is_one(bus: str, spawn: Spawn) -> None:
    watching = subscribe(spawn, bus)
    waiting = spawn("subscriber", bus, WORKER, json.dumps({"poll_interval_s": NEVER_POLLS_S}))
    wait_for_waiting(bus, WORKER, 2)
    assert not problems(run_checks(bus))
    waiting.signal(signal.SIGSTOP)  # or it would take over within a second
    watching.kill()

    check = run_checks(bus)["watch"]

    assert_reports(check, "warn", "no process watches the WAL", "only every poll_interval_s", "restart a subscriber")
    waiting.kill()
    subscribe(spawn, bus)
    assert not problems(run_checks(bus))


@needs_proc
def test_a_wal_watcher_that_is_not_visible_is_not_missed(bus: str, spawn: Spawn) -> None:
    subscribe(spawn, bus)
    command = ["unshare", "--pid", "--fork", "--mount-proc"]
    if not shutil.which("unshare") or subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no PID namespace can be made here")
    doctor = [sys.executable, "-m", "raven", "doctor", "--json", "--db", bus]

    output = subprocess.run([*command, *doctor], capture_output=True, text=True, timeout=60, check=False).stdout

    checks = {check["name"]: check for check in json.loads(output)["checks"]}
    assert checks["watch"]["verdict"] == "ok"
    assert "is not visible" in checks["watch"]["found"]


@needs_proc
def test_used_up_inotify_instances_are_counted_and_their_process_named(bus: str, spawn: Spawn) -> None:
    process = DoctorProcess(spawn("doctor", bus))
    held = process.use_up_inotify()
    used_up = process.run_checks()
    process.use_up_inotify(free=True)

    held_by = f"pid {process.program.pid} (python doctor.py): {held}"
    assert_reports(used_up["inotify"], "warn", "inotify", "instances is ", held_by, "sysctl -w ")
    assert not problems(process.run_checks())


@needs_proc
def test_used_up_inotify_watches_are_reported_by_their_own_limit(bus: str, spawn: Spawn) -> None:
    process = DoctorProcess(spawn("doctor", bus))
    process.allow_watches(0)
    used_up = process.run_checks()
    process.allow_watches(100)

    assert_reports(
        used_up["inotify"], "warn", "user.max_inotify_watches is 0", "sysctl -w user.max_inotify_watches=1024"
    )
    assert not problems(process.run_checks())


def test_a_write_noticed_too_late_is_reported(bus: str, monkeypatch: pytest.MonkeyPatch) -> None:
    probe: Callable[[str, float], bool] = watcher_module.probe
    monkeypatch.setattr(watcher_module, "probe", lambda folder, _: probe(folder, 0.0))

    assert_reports(run_checks(bus)["inotify"], "warn", "not noticed")
