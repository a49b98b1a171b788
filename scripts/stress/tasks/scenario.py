"""Tasks: asyncio tasks, threads, transactions and cancellations mixed, and their ledger compared with the bus."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import apsw

from raven import BusClient
from scripts.harness.program import Program
from scripts.stress import report
from scripts.stress.trial import Round

_ROUND_S = 5.0
_TIMEOUT_S = 150.0
_PROCESSES = 2
_MAX_WAIT_MS = 1000
_SENT = "SELECT id, body ->> 'token' FROM messages WHERE type IN ('note', 'ask')"
_ACKED = "SELECT recipient, message_id FROM deliveries WHERE state = 2 AND recipient GLOB 'worker-[0-9]:s'"


def run(round: Round) -> None:
    """Run two processes, each with one client or several that all its threads and tasks share, and check the bus."""
    db = str(round.folder / "bus.db")
    BusClient.at("sink:s", db).close()
    seconds = min(round.seconds, _ROUND_S)
    ledgers = [round.folder / f"ledger-{number}" for number in range(_PROCESSES)]
    with ExitStack() as stack:
        programs = [
            stack.enter_context(
                Program(
                    "stress.tasks.mixed", db, round.random.getrandbits(31), seconds, round.random.choice((1, 3)), path
                )
            )
            for path in ledgers
        ]
        for program in programs:
            report.add_to_round(round, program.line(seconds + _TIMEOUT_S))
        other = apsw.Connection(db)
        other.set_busy_timeout(_MAX_WAIT_MS)
        try:
            other.execute("BEGIN IMMEDIATE; ROLLBACK")
        except apsw.BusyError:
            round.report("broken", "the bus is still locked after all calls have ended")
        compare(round, other, [json.loads(Path(path).read_text(encoding="utf-8")) for path in ledgers])
        other.close()
        for program in programs:
            program.tell("end")
            round.expect(program.wait() == 0, f"a process has ended with {program.wait()}")


def compare(round: Round, bus: apsw.Connection, ledgers: list[dict[str, Any]]) -> None:
    """Report each message that is stored and should not be, or the reverse, and each that was finished twice."""
    stored = dict(bus.execute(_SENT))
    sent = {token: id for ledger in ledgers for token, id in ledger["sent"].items()}
    ids = Counter(id for id in sent.values() if id)
    for token, id in sent.items():
        if id and stored.get(id) != token:
            round.report("lost", f"a send returned #{id}, and the bus has {stored.get(id)!r} there")
    for id, token in stored.items():
        round.expect(sent.get(token, 0) in (id, None), f"#{id} is stored, and its send was undone")
    for id, times in ids.items():
        round.expect(times == 1, f"#{id} was the id of {times} sends")
    for ledger in ledgers:
        for id in ledger["received"]:
            round.expect(id in stored, f"#{id} was received, and its send was undone")
    finished = Counter((address, id) for ledger in ledgers for address, id in ledger["finished"])
    acked = set(bus.execute(_ACKED))
    for delivery, times in finished.items():
        if times > 1:
            round.report("duplicated", f"{times} consumers have finished #{delivery[1]} at {delivery[0]}")
        if delivery not in acked:
            round.report("lost", f"the ack of #{delivery[1]} at {delivery[0]} is lost")
    for address, id in acked - finished.keys():
        round.report("lost", f"#{id} at {address} is acked, and no consumer has got it")
    round.count("messages compared", len(stored))
