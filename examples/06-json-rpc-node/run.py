"""Run workers in Node over the socket, kill one with -9 during a job, and check that no job is lost."""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence

from raven import BusClient, Message

CONDUCTOR = "conductor:node"
WORKER = "worker:node"
TEXTS = ["a message is a row", "naïve café ☕", "the third one hangs at first", "no broker", "no daemon", "no port"]
HANGS = 3
# A name without its folder: the path of a socket is limited to about a hundred bytes.
SOCKET = "bus.db.sock"
# Less than a lease: the jobs of a dead worker must not wait for the end of their leases.
GIVE_UP_AFTER_S = 25.0
HERE = os.path.dirname(os.path.abspath(__file__))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("db", nargs="?", help="the bus file, which must not exist yet (default: in a new temp folder)")
    args = parser.parse_args()
    if args.db and os.path.exists(args.db):
        parser.error(f"{args.db} exists already: each run makes a bus of its own")
    if shutil.which("node") is None:
        parser.error("the program node is not there: install Node.js 18 or newer")
    db_path = os.path.abspath(args.db or os.path.join(tempfile.mkdtemp(prefix="raven-json-rpc-node-"), "bus.db"))
    started: list[subprocess.Popen[str]] = []
    # In any case no child outlives the run, and no read of its output blocks for ever.
    timer = threading.Timer(GIVE_UP_AFTER_S, lambda: [process.kill() for process in started])
    timer.start()
    try:
        with BusClient.at(CONDUCTOR, db_path) as conductor:
            is_well = conduct(conductor, os.path.dirname(db_path), started)
    finally:
        timer.cancel()
        for process in started:
            process.kill()
            process.wait()
    print(f"bus: {db_path}")
    return 0 if is_well else 1


def conduct(conductor: BusClient, folder: str, started: list[subprocess.Popen[str]]) -> bool:
    serve = [sys.executable, "-m", "raven", "serve", "--db", conductor.db_path, "--socket", SOCKET]
    server = start(serve, folder, started)
    wait_for(server, ["listening at"])
    jobs = [
        conductor.send(WORKER, "job", {"text": text, "pauses_ms": [60_000, 10] if number == HANGS else [10]})
        for number, text in enumerate(TEXTS, 1)
    ]
    stuck, next_one = jobs[HANGS - 1].id, jobs[HANGS].id

    first = start(worker("worker-1"), folder, started)
    wait_for(first, [f"works on #{stuck}", f"holds #{next_one}"])
    first.kill()
    print(f"worker-1 killed with -9, with #{stuck} in hand and #{next_one} next")

    second = start(worker("worker-2"), folder, started)
    conductor.send(WORKER, "no-more")
    wait_for(second, ["leaves"])
    answers = conductor.inbox()
    for msg in answers:
        conductor.ack(msg.id)
    server.terminate()
    ended_well = second.wait() == 0 and server.wait() == 0
    return report(jobs, answers) and ended_well


def start(command: Sequence[str], folder: str, started: list[subprocess.Popen[str]]) -> subprocess.Popen[str]:
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
    started.append(process)
    return process


def worker(name: str) -> list[str]:
    return ["node", os.path.join(HERE, "worker.mjs"), SOCKET, WORKER, name]


def wait_for(process: subprocess.Popen[str], signs: list[str]) -> None:
    """Print the output of a process until it has contained all of the signs."""
    missing = set(signs)
    assert process.stdout
    for line in process.stdout:
        if "listening" not in line:
            print(line, end="")
        missing = {sign for sign in missing if sign not in line}
        if not missing:
            return
    raise SystemExit(f"a process ended, or was too slow: {process.args} has not said {missing}")


def report(jobs: list[Message], answers: list[Message]) -> bool:
    """Print the outcome of each job; returns whether each was answered once, and correctly."""
    good = lost = 0
    for job in jobs:
        replies = [msg for msg in answers if msg.reply_to == job.id]
        digest = hashlib.sha256(job.body["text"].encode()).hexdigest()
        good += [msg.body["digest"] for msg in replies] == [digest]
        lost += not replies
        print(
            f"#{job.id} {job.body['text']!r}: answered by {' and '.join(msg.body['by'] for msg in replies) or 'NOBODY'}"
        )
    print(f"{len(jobs)} jobs, {lost} lost, {good} answered once and rightly")
    return good == len(jobs)


if __name__ == "__main__":
    sys.exit(main())
