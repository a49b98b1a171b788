"""A request that runs again after a rollback has the effect of one run.

The writer does so when a commit fails that several requests share, for example because one of them fills the disk.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from raven import BusClient, BusObserver
from raven.errors import InputError
from raven.host.bus import HostedBus
from raven.host.worker import Job, Outcome, Writer, capture
from raven_rpc.methods.table import METHODS
from tests.rpc_server import Line
from tests.thread_server import ServedHere

WORKER, BOSS = "worker:s", "boss:s"
# The methods that write in no transaction of the writer.
OTHERS = {
    "read", "recipients", "receipts", "wait_receipt", "history", "thread", "tail", "peers", "last_id", "dead", "prune",
    "purge_dead", "forget", "hello", "ping", "stats", "rpc.discover",
}  # fmt: skip
_commit = Writer._commit


class RolledBackError(Exception):
    """The end of a transaction that shall be rolled back."""


def commit_at_the_second_run(writer: Writer, jobs: list[Job]) -> list[Outcome]:
    """Run all jobs in a transaction that is rolled back, then as the writer does."""
    with suppress(RolledBackError), writer._bus.atomic():
        for job in jobs:
            capture(job.run)
        raise RolledBackError
    return _commit(writer, jobs)


def converse(line: Line, bus: BusClient, frail: BusClient) -> Iterator[tuple[str, Any]]:
    """Call every method that writes, also where it fails; yield each with its answer."""

    def call(method: str, params: Any) -> tuple[str, Any]:
        line.tell(method, params, id=method)
        return method, line.answer()

    def note(n: int, to: str = WORKER, **options: Any) -> dict[str, Any]:
        return {"to": to, "type": "note", "body": n, **options}

    yield call("hello", {"as": WORKER})
    yield call("register", {"role": ["cook:kitchen", "waiter:kitchen"]})
    for n in range(6):
        yield call("send", {"from": BOSS, **note(n)})
    yield call("send", {"from": BOSS, **note(6, "*:kitchen", dedup_key="k")})
    yield call("send", {"from": BOSS, **note(7, "*:kitchen", dedup_key="k")})
    yield call("send", {"from": BOSS, **note(8, "*:nowhere")})
    yield call("send_many", {"from": BOSS, "messages": [note(8), note(9, max_attempts=1)]})
    yield call("inbox", {"max": 2})
    yield call("claim", {"max": 3})
    yield call("extend", {"id": 1, "lease_s": 60})
    yield call("ack", {"id": 1})
    yield call("ack", {"id": 1})
    yield call("nack", {"id": 2, "reason": "later"})
    yield call("nack", {"id": 1})
    bus.nack(3)
    bus.claim(max=2)  # 2 and 3
    yield call("ack", {"id": 3})  # its lease is another's now
    yield call("reply", {"id": 4, "type": "answer"})
    yield call("request", {"to": "absent:s", "type": "question", "timeout_s": 0.01})
    yield call("transaction", {"calls": [
        {"method": "claim", "params": {"max": 2}}, {"method": "send", "params": note(10)},
        {"method": "ack", "params": {"id": 4}},
    ]})  # fmt: skip
    yield call("transaction", {"calls": [
        {"method": "send", "params": note(11)}, {"method": "ack", "params": {"id": 3}},
    ]})  # fmt: skip
    yield call("subscribe", {"ack": "manual", "window": 1})
    pushed = line.push()
    yield "message", pushed
    yield call("held", {"subscription": 1})
    yield call("ack", {"id": pushed["message"]["id"]})
    yield "message", line.push()
    yield call("held", {"subscription": 1})
    yield call("unsubscribe", {"subscription": 1})
    yield call("subscribe", {"ack": "prefetch", "window": 1})
    pushed = line.push()
    yield call("ack", {"id": pushed["message"]["id"], "subscription": 2})
    yield call("ack", {"id": pushed["message"]["id"], "subscription": 2})
    yield call("unsubscribe", {"subscription": 2})
    last = bus.send("frail:s", "note", max_attempts=1)
    for message in frail.claim():
        frail.nack(message.id)
    yield call("requeue", {"ids": [last.id]})


def told(db: str) -> tuple[list[Any], Any]:
    """Return the answers of a server and the final content of its bus, without times, tokens and random names."""
    served = ServedHere(db)
    try:
        with served.connect() as line, BusClient.at(WORKER, db) as bus, BusClient.at("frail:s", db) as frail:
            answers = list(converse(line, bus, frail))
    finally:
        served.close()
    with BusObserver(db) as observer:
        log = [message.as_dict() for message in observer.tail(follow=False)]
        receipts = [receipt.as_dict() for entry in log for receipt in observer.receipts(entry["id"])]
        peers = [(peer.address, peer.pending) for peer in observer.peers()]
    return [_plain(answer) for answer in answers], _plain([log, receipts, peers])


def _plain(value: Any) -> Any:
    text = re.sub(r'"\d{4}-\d\d-\d\dT[^"]*Z"', '"time"', json.dumps(value))
    text = re.sub(r'"lease": \d+', '"lease": 1', text)
    return json.loads(re.sub(r"\+[0-9a-f]{16}:", "+private:", text))


@pytest.mark.parametrize("on_loop", [True, False])
def test_every_request_that_runs_twice_does_what_one_does(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, on_loop: bool
) -> None:
    if not on_loop:
        monkeypatch.setattr(Writer, "try_inline", lambda *_: None)
    answers, content = told(str(tmp_path / "once.db"))
    monkeypatch.setattr(Writer, "_commit", commit_at_the_second_run)

    again, content_again = told(str(tmp_path / "twice.db"))

    assert again == answers
    assert content_again == content
    assert {method for method, _ in answers} == METHODS.keys() - OTHERS | {"message", "hello"}


def test_a_request_that_was_rolled_back_can_be_sent_again_and_only_once(hosted: Callable[..., HostedBus]) -> None:
    bus = hosted(BOSS)
    pending = bus.pending_request(WORKER, "question", {"n": 1}, timeout_s=30)
    with suppress(RolledBackError), bus.atomic():
        pending.send()
        with pytest.raises(InputError, match="was sent already"):
            pending.send()
        raise RolledBackError

    sent = pending.send()

    assert (bus.last_id(), bus.read(sent.id).body) == (sent.id, {"n": 1})
    with pytest.raises(InputError, match=f"message #{sent.id} was sent already"):
        pending.send()
