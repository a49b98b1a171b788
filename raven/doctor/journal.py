"""Journal: the mode of the file, the size of its WAL, and the readers that keep it from being written back."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress

from raven.doctor.linux import locks, proc
from raven.doctor.readonly_store import Specimen, WriteBackState
from raven.doctor.report import Check, Finding, conclude, listed
from raven.errors import RavenError

_MIB = 1024 * 1024
# Under the load of many writers raven itself lets it grow to less than half of this.
_BIG_WAL = 128 * _MIB
_WATCHED_S = 2.0
_NAP_S = 0.025
_WRITE_BACK_EVERY_S = 0.25
# A process that rests inside a transaction computes nothing; one that reads again and again does.
_RESTING_TICKS = 5
_END_IT = "end that transaction (COMMIT, or close the cursor), or that program"


def check_journal(store: Specimen) -> Check:
    """Look at the mode, the size, and at who reads for long."""
    mode = store.pragma("journal_mode")
    if mode != "wal":
        return Check(
            "journal",
            "fail",
            f"mode {mode}, not wal: readers and writers wait for each other",
            "end the programs that are not raven, then run `raven stats`: raven sets the mode when it is alone",
        )
    findings, restless = _find_readers(store)
    size = store.wal_size()
    if size > _BIG_WAL:
        found, remedy = f"the WAL has {size / _MIB:.0f} MiB", ""
        if restless and not findings:
            found += f", and {_name(restless)} reads or writes without a pause"
            remedy = "give it pauses: raven begins the WAL anew, and cuts it, when for a moment nobody reads from it"
        elif not findings:
            remedy = "no reader stays in it: raven's next writes begin it anew, and cut it"
        findings.append(Finding("warn", found, remedy))
    untold = "" if proc.is_there() else "; which processes use the bus cannot be told without /proc"
    return conclude("journal", findings, f"WAL, {size / _MIB:.1f} MiB{untold}")


def _find_readers(store: Specimen) -> tuple[list[Finding], set[int]]:
    """Watch for a while whether pages stay in the WAL for a reader's sake; returns that, and who reads all the while.

    On a busy bus there is a reader at nearly every moment; but what was in the WAL at the first look gets into the file
    between two of them, unless one of them stays.
    """
    started = time.monotonic()
    first = last = _write_back(store)
    reading = locks.readers(store.path)
    writing = locks.writers(store.path)
    ticks = {pid: proc.cpu_ticks(pid) for pid in reading}
    look_again_at = started + _WRITE_BACK_EVERY_S
    while reading - writing or _holds_back(first, last):
        if time.monotonic() > started + _WATCHED_S:
            break
        time.sleep(_NAP_S)
        reading &= locks.readers(store.path)
        writing |= locks.writers(store.path)
        if time.monotonic() >= look_again_at:
            last = _write_back(store) or last
            look_again_at = time.monotonic() + _WRITE_BACK_EVERY_S
    else:
        return [], set()
    last = _write_back(store) or last
    span = time.monotonic() - started
    if _holds_back(first, last):
        kept = last.pages - last.written_back if last else 0
        who = _name(reading - writing or reading)
        found = f"{who} has read for {span:.1f} s and more: {kept:,} pages of the WAL cannot be written back"
        return [Finding("warn", found, _END_IT)], reading
    resting = {pid for pid in reading - writing if proc.cpu_ticks(pid) - ticks[pid] <= _RESTING_TICKS}
    if resting and first == last:
        found = f"{_name(resting)} has read for {span:.1f} s and more: the WAL will grow with each write"
        return [Finding("warn", found, _END_IT)], reading
    return [], reading


def _holds_back(first: WriteBackState | None, last: WriteBackState | None) -> bool:
    """Whether something of what the WAL held at first is not in the file yet; a WAL that began anew is shorter."""
    return first is not None and last is not None and last.written_back < first.pages <= last.pages


def _write_back(store: Specimen) -> WriteBackState | None:
    with suppress(RavenError):
        return store.write_back()
    return None


def _name(pids: Iterable[int]) -> str:
    return listed([proc.describe(pid) for pid in sorted(pids)]) or "a program that cannot be seen from here"
