"""`raven doctor` on a busy, healthy bus: it reports no problem at any time, and disturbs no process."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest

from raven import BusClient
from tests.cli.shell import Shell
from tests.doctor_process import run_checks
from tests.rpc_server import Served
from tests.support import Program, wait_for_waiting, wait_for_watch

LOOKED_FOR_S = 2.5


@pytest.mark.process
def test_a_busy_bus_with_subscribers_a_server_and_leases_is_healthy(
    db: str, connect: Callable[..., BusClient], spawn: Callable[..., Program], serve: Callable[..., Served]
) -> None:
    boss = connect("boss:s", busy_timeout_s=20)
    options = [{"mode": "listen"}, {"mode": "subscribe"}, {"mode": "listen", "ack": "manual"}]
    workers = [spawn("subscriber", db, f"worker-{number}:s", json.dumps(one)) for number, one in enumerate(options)]
    server = serve()
    producers = [spawn("producer", db, f"producer-{number}:s", 1_000_000, "worker-0:s") for number in range(2)]
    for producer in producers:
        producer.read()
        producer.tell()
    for number in range(len(workers)):
        wait_for_waiting(db, f"worker-{number}:s")
    wait_for_watch(db, *workers)
    boss.send("boss:s", "note", "held under a lease")
    boss.claim(lease_s=600)
    reports = []
    with server.connect() as line:
        line.ask("subscribe", {"role": "worker-2:s"})
        give_up_at = time.monotonic() + LOOKED_FOR_S
        while time.monotonic() < give_up_at:
            boss.send("worker-1:s", "job", "x" * 100)
            reports.append(run_checks(db))
    for producer in producers:
        producer.kill()

    assert len(reports) > 1
    assert [check for checks in reports for check in checks.values() if check.verdict != "ok"] == []
    assert {"processes", "watch", "subscribers", "socket", "clock"} <= reports[-1].keys()
    assert f"pid {server.pid} (" in reports[-1]["socket"].found


def test_the_command_reports_the_same_in_words_and_as_json(shell: Shell) -> None:
    shell.ok("send", "--from", "boss:s", "--to", "boss:s", "-t", "note")
    subscriber = shell.start("subscribe", "-a", "worker:s")
    wait_for_waiting(shell.db, "worker:s")

    printed, checks = shell.ok("doctor").splitlines(), shell.json("doctor", "--json")["checks"]
    subscriber.terminate()
    subscriber.communicate(timeout=20)

    assert [line.split(": ")[0].split(None, 1)[1] for line in printed] == [check["name"] for check in checks]
    assert [line.split()[0] for line in printed] == [check["verdict"] for check in checks]
    assert all(check.keys() == {"name", "verdict", "found", "remedy"} for check in checks)
    assert {check["name"]: check["verdict"] for check in checks}["subscribers"] == "ok"
