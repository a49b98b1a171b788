"""Fail each call of each operation to the disk: `fault_sweep FOLDER SEED SECONDS calls|flushes|broken`.

`calls` fails system calls, `flushes` the flushes to disk, and `broken` the calls of an operation that the sweep must
find. It prints one JSON line for each operation, `{"operation", "cases", "errors", "findings"}`. The last line is
`{"is_complete"}`: whether the time was enough for all operations. `findings` are pairs of a kind and a text.
"""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import sys
import time
from collections import Counter
from typing import Any, NamedTuple

from raven import BusClient, DatabaseError, DiskFullError, RavenError, ReadOnlyError
from raven.host.bus import HostedBus
from raven.store import checkpoint
from scripts.harness.program import Program
from scripts.stress.disk.failing_vfs import ERRNOS, FailingVFS
from scripts.stress.disk.operations import ADDRESS, BROKEN, OPERATIONS, Operation, make_old, make_used

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NOT_ALLOWED = (errno.EACCES, errno.EROFS)
_MANY, _SOME = 150, 30


class Fault(NamedTuple):
    """The failing call by kind and number, its errno, and whether all later calls fail, too."""

    kind: str
    number: int
    at: int
    is_lasting: bool

    def __str__(self) -> str:
        which = f"{self.kind} {self.at}{' and all that follow' if self.is_lasting else ''}"
        return f"{which} failed with {errno.errorcode[self.number]}"


class Sweep:
    """Tries each operation with each fault, each time on a new bus."""

    def __init__(self, folder: str, seed: int, other_client: Program, vfs: FailingVFS, *, flushes: bool) -> None:
        self._folder = folder
        self._random = random.Random(seed)
        self._other_client = other_client
        self._vfs = vfs
        self._options: dict[str, Any] = {"durability": "full" if flushes else self._random.choice(["normal", "full"])}
        # With so small a limit nearly every commit also runs a checkpoint.
        checkpoint.PAGES = self._random.choice([checkpoint.PAGES, 3])
        self._count = 0
        self._findings: list[tuple[str, str]] = []
        self.errors: Counter[str] = Counter()
        for name, make in (("used", make_used), ("old", make_old)):
            make(f"{folder}/{name}")
        self._ask("open", f"{folder}/used")
        self._ready = set(self._ask("dump")["unfinished"])
        self._ask("close")

    def run(self, operation: Operation, until: float) -> bool:
        """Try one operation with every fault; returns whether the time was enough."""
        self._findings, self.errors = [], Counter()
        expected, calls = self._run_without_faults(operation)
        faults = [
            Fault(kind, self._random.choice(ERRNOS[kind]), at, kind == "open" or self._random.random() < 0.5)
            for kind, count in calls.items()
            for at in self._which(count)
        ]
        self._random.shuffle(faults)
        tried = 0
        for fault in faults:
            if time.monotonic() > until:
                break
            self._try(operation, fault, expected)
            tried += 1
        print(
            json.dumps(
                {"operation": operation.name, "cases": tried, "errors": self.errors, "findings": self._findings}
            ),
            flush=True,
        )
        return tried == len(faults)

    def _which(self, count: int) -> list[int]:
        """Return the numbers of the calls to fail: all, or for very many the first, the last and a sample."""
        every = range(1, count + 1)
        return list(every) if count <= _MANY else sorted({1, count, *self._random.sample(every, _SOME)})

    def _run_without_faults(self, operation: Operation) -> tuple[dict[str, Any], dict[str, int]]:
        """Return the contents of the bus after the operation without faults, and the counts of its calls."""
        path, bus, prepared = self._begin(operation)
        self._vfs.arm()
        opened = operation.run(bus or path, prepared)
        self._vfs.mend()
        calls = dict(self._vfs.calls)
        (bus or opened).close()
        self._ask("open", path)
        after = self._ask("dump")
        self._end(path)
        return after, calls

    def _try(self, operation: Operation, fault: Fault, expected: dict[str, Any]) -> None:
        path, bus, prepared = self._begin(operation)
        exists = os.path.exists(path)
        case = f"{operation.name}, {fault}"
        # Another client with the bus open keeps its WAL and its shared memory: then SQLite makes other calls.
        is_open_elsewhere = exists and self._random.random() < 0.7
        before = None
        if is_open_elsewhere:
            self._ask("open", path)
            before = self._ask("dump")
        error = self._fail(operation, fault, bus or path, prepared, case)
        if not is_open_elsewhere and os.path.exists(path):
            self._ask("open", path)
        now = self._ask("dump") if is_open_elsewhere or os.path.exists(path) else None
        if now is not None:
            self._check_sound(now, case)
        if operation.does and error is None and now is not None:
            self._expect(
                _kinds(now) == _kinds(expected), "broken", f"{case}: it returned, and {_difference(now, expected)}"
            )
        if operation.undoes and error is not None and before is not None and now is not None:
            self._expect(
                now["digest"] == before["digest"], "broken", f"{case}: it raised, and {_difference(now, before)}"
            )
        if operation.client:
            self._ask("write")
        self._go_on(operation, bus or path, prepared, case, has_failed=error is not None)
        if bus is not None:
            bus.close()
        self._end(path)

    def _begin(self, operation: Operation) -> tuple[str, HostedBus | None, Any]:
        self._count += 1
        path = f"{self._folder}/{self._count}.db"
        if operation.template:
            shutil.copyfile(f"{self._folder}/{operation.template}", path)
        if not operation.client:
            return path, None, None
        bus = HostedBus.at(ADDRESS, path, **self._options, **dict(operation.options))
        return path, bus, operation.prepare(bus)

    def _fail(self, operation: Operation, fault: Fault, client: Any, prepared: Any, case: str) -> RavenError | None:
        self._vfs.arm(fault.kind, fault.number, at=fault.at, lasting=fault.is_lasting)
        opened, error = None, None
        try:
            opened = operation.run(client, prepared)
        except Exception as raised:
            error = raised
        self._vfs.mend()
        if not operation.client and opened is not None:
            opened.close()
        name = type(error).__name__ if error else "nothing"
        self.errors[f"{fault.kind} {errno.errorcode[fault.number]}: {name}"] += bool(self._vfs.failed)
        if error is None:
            return None
        if not isinstance(error, DatabaseError) or not self._vfs.failed:
            self._expect(False, "broken", f"{case}: raised {name}: {error}")
            return None
        expected_class = (
            DiskFullError if fault.number in _NO_ROOM else ReadOnlyError if fault.number in _NOT_ALLOWED else None
        )
        # SQLite mostly hides the reason of a failed open, and the folder shows none.
        # At the end of a transaction that an earlier error has undone, the error says only that.
        if fault.kind != "open" and "rolled back by an earlier error" not in str(error):
            is_right = (
                type(error) is expected_class
                if expected_class
                else not isinstance(error, DiskFullError | ReadOnlyError)
            )
            self._expect(is_right, "broken", f"{case}: raised {name}: {error}")
        return error

    def _go_on(self, operation: Operation, client: Any, prepared: Any, case: str, *, has_failed: bool) -> None:
        """Repeat the operation with the same client, without faults, and check the bus again."""
        path = client if isinstance(client, str) else client.db_path
        if operation.name == "close":
            client = BusClient.at(ADDRESS, path)
        try:
            if not operation.client:
                operation.run(client, prepared).close()
            elif has_failed and operation.name != "close":
                operation.run(client, prepared)
            sent = client.send(ADDRESS, "after") if operation.client else None
        except Exception as error:
            self._expect(False, "broken", f"{case}: the same client could not go on: {type(error).__name__}: {error}")
            return
        if not os.path.exists(path):
            return
        if not operation.client:
            self._ask("open", path)
        now = self._ask("dump")
        self._check_sound(now, f"{case}, and was done again")
        if sent is not None:
            if sent.id not in now["unfinished"]:
                self._expect(False, "lost", f"{case}: message #{sent.id}, sent after the fault, is not stored")
            if isinstance(prepared, list) and operation.name.startswith("listen"):
                self._check_received(prepared, now["unfinished"], case)
            if operation.name == "close":
                client.close()

    def _check_received(self, received: list[int], unfinished: list[int], case: str) -> None:
        gone = self._ready.difference(received, unfinished)
        self._expect(not gone, "lost", f"{case}: {sorted(gone)} were neither received nor are they pending")
        counts = Counter([*received, *(set(unfinished) & set(received))])
        duplicated = [id for id, count in counts.items() if count > 1]
        self._expect(not duplicated, "duplicated", f"{case}: {duplicated} were received, and are pending")

    def _check_sound(self, now: dict[str, Any], case: str) -> None:
        self._expect(now.get("check") == "ok", "broken", f"{case}: integrity_check says {now.get('check')}: {now}")
        self._expect(not now.get("half"), "lost", f"{case}: {now.get('half')} messages without a delivery")

    def _expect(self, condition: object, kind: str, text: str) -> None:
        if not condition:
            self._findings.append((kind, text))

    def _ask(self, *request: str) -> dict[str, Any]:
        self._other_client.tell(json.dumps(request))
        answer: dict[str, Any] = json.loads(self._other_client.line(30))
        self._expect("error" not in answer, "broken", f"another client, {request}: {answer.get('error')}")
        return answer

    def _end(self, path: str) -> None:
        self._ask("close")
        shutil.rmtree(f"{path}-bells", ignore_errors=True)
        name = os.path.basename(path)
        for left in os.listdir(self._folder):
            if left.startswith(name):
                os.unlink(f"{self._folder}/{left}")


def _kinds(dump: dict[str, Any]) -> tuple[Any, Any]:
    return dump["counts"], dump["kinds"]


def _difference(now: dict[str, Any], other: dict[str, Any]) -> str:
    return f"there are {now['counts']} {now['kinds']}, not {other['counts']} {other['kinds']}"


def main() -> None:
    folder, seed, seconds, calls = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
    until, flushes = time.monotonic() + seconds, calls == "flushes"
    vfs = FailingVFS(flushes=flushes)
    with Program("stress.disk.dump") as other_client:
        sweep = Sweep(folder, seed, other_client, vfs, flushes=flushes)
        # The VFS above raises errors out of a close, which SQLite's own cannot do.
        operations = [
            operation
            for operation in (BROKEN if calls == "broken" else OPERATIONS)
            if not (flushes and operation.name == "close")
        ]
        random.Random(seed).shuffle(operations)
        is_complete = all(sweep.run(operation, until) for operation in operations)
    vfs.remove()
    print(json.dumps({"is_complete": is_complete}), flush=True)


if __name__ == "__main__":
    main()
