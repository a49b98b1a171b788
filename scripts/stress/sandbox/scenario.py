"""Sandbox: a hostile client of a bound socket, beside honest clients of two sockets and one of the file."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from raven import BusClient, BusyError
from scripts.harness.deadline import DEADLINE_S, slowness
from scripts.harness.served import Served
from scripts.stress.trial import Round

# The bars: the memory of the attacked server, and a ping of another client on a machine that does nothing else.
_MEMORY_MIB = 256
_PING_S = 0.05
_ROLES = 50
_OTHERS = 20_000


def run(round: Round) -> None:
    """Let the hostile client attack one server; the others must keep their latency, and lose nothing."""
    db = str(round.folder / "bus.db")
    with BusClient.at("boss:s", db) as boss:
        boss.register(*(f"role-{number}:q" for number in range(_ROLES)))
        boss.send_many([{"to": "critic:s", "type": "note"}] * _OTHERS)
        boss.send_many([{"to": "w:s", "type": "note", "body": "x" * 1_000_000}] * 5)
        with Served(db, None, "--as", "w:s") as attacked, Served(db, f"{db}.2.sock", "--as", "h:s") as own:
            _measure(round, boss, attacked, own)
            round.expect(not attacked.has_ended and not own.has_ended, "both servers live")
            round.expect("Traceback" not in attacked.log(), "the log of the attacked server has no traceback")


def _measure(round: Round, boss: BusClient, attacked: Served, own: Served) -> None:
    command = [sys.executable, "-m", "scripts.stress.sandbox.hostile", attacked.path, str(round.seed)]
    latencies: dict[str, list[float]] = {name: [] for name in ("ping", "own ping", "send", "claim", "file send")}
    with attacked.connect() as same, own.connect() as line:
        process = subprocess.Popen([*command, str(round.seconds)], stdout=subprocess.PIPE, text=True)
        sent = 0
        while process.poll() is None:
            _time(latencies["ping"], partial(same.ask, "ping"))
            _time(latencies["own ping"], partial(line.ask, "ping"))
            _time(latencies["send"], partial(line.ask, "send", {"to": "h:s", "type": "note", "body": sent}))
            claimed = _time(latencies["claim"], partial(line.ask, "claim"))["messages"]
            bodies = [message["body"] for message in claimed]
            for message in claimed:
                line.ask("ack", {"id": message["id"]})
            round.expect(bodies == [sent], f"the honest client claims its own message {sent}, not {bodies}")
            sent += 1
            try:
                _time(latencies["file send"], partial(boss.send, "critic:s", "note"))
            except BusyError as error:
                round.report("broken", f"a client of the file got a BusyError: {error}")
            time.sleep(0.005)
        output, _ = process.communicate(timeout=DEADLINE_S)
    round.expect(process.returncode == 0, "the hostile client ends by itself")
    for name, count in json.loads(output or "{}").items():
        round.count(f"attacks: {name}", count)
    for name, times in latencies.items():
        round.count(f"us p50 of {name}", int(_quantile(times, 0.5) * 1e6))
        round.count(f"us p99 of {name}", int(_quantile(times, 0.99) * 1e6))
    # The other server, which is not attacked, tells how slow the machine itself is at that time.
    limit = _PING_S * slowness() + 10 * _quantile(latencies["own ping"], 0.99)
    round.expect(_quantile(latencies["ping"], 0.99) <= limit, f"99 of 100 pings of others take at most {limit:.3f} s")
    peak = _peak_mib(attacked.pid)
    round.count("MiB at most in the attacked server", int(peak))
    round.expect(peak <= _MEMORY_MIB, f"the attacked server takes {peak:.0f} MiB, at most {_MEMORY_MIB}")


def _time(times: list[float], call: Callable[[], Any]) -> Any:
    begin = time.perf_counter()
    value = call()
    times.append(time.perf_counter() - begin)
    return value


def _quantile(times: list[float], share: float) -> float:
    return sorted(times)[min(len(times) - 1, int(share * len(times)))] if times else 0.0


def _peak_mib(pid: int) -> float:
    """Return the most memory that a process has had; 0 where the system does not tell."""
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in text.splitlines() if line.startswith("VmHWM:")), 0.0)
