"""Run a worker with only a socket that is bound to its address: first it does a job, then it tries to break out."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile

import isolation

from raven import BusClient, Message

WORKER = "worker:sandbox"
CONDUCTOR = "conductor:sandbox"
AUDITOR = "auditor:sandbox"
SOCKET = "sandbox.sock"
ANSWER_WITHIN_S = 60.0
EXIT_WITHIN_S = 20.0
SECRET = "the safe opens with 4711"
HERE = os.path.dirname(os.path.abspath(__file__))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    names = [kind.name for kind in isolation.KINDS]
    parser.add_argument("--isolation", choices=names, help="how the worker is held (default: the strongest that works)")
    args = parser.parse_args()

    # Mode 0700, and outside the folder of the worker.
    db_path = os.path.join(tempfile.mkdtemp(prefix="raven-sandboxed-worker-"), "bus.db")
    kind = isolation.choose(os.path.dirname(db_path), args.isolation)
    if kind is None:
        parser.exit(3, f"{args.isolation} does not work on this machine: choose another kind of isolation\n")
    print(f"isolation: {kind.name}: {kind.words}")
    with (
        tempfile.TemporaryDirectory(prefix="raven-sandbox-") as sandbox,
        BusClient.at(CONDUCTOR, db_path) as conductor,
        BusClient.at(AUDITOR, db_path) as auditor,
    ):
        os.chmod(sandbox, 0o711)
        server = start_server(kind, db_path, sandbox)
        print(f"the sandbox holds {', '.join(os.listdir(sandbox))}, bound to {WORKER}, and nothing else")
        worker = start_worker(kind, db_path, sandbox)
        try:
            is_held = put_to_the_test(kind, conductor, auditor)
            is_well = is_held and worker.wait(EXIT_WITHIN_S) == 0
            server.terminate()
            is_well = server.wait(EXIT_WITHIN_S) == 0 and is_well
        finally:
            for process in (worker, server):
                process.kill()
                process.wait()
    print(f"bus: {db_path}")
    return 0 if is_well else 1


def start_server(kind: isolation.Isolation, db_path: str, sandbox: str) -> subprocess.Popen[str]:
    """Start the server with a bound socket in the sandbox, and wait until it listens."""
    allow = [] if kind.uid is None else ["--allow-uid", str(kind.uid)]
    # The socket by its name alone: the path of a socket is limited to about a hundred bytes.
    command = [sys.executable, "-m", "raven", "serve", "--db", db_path, "--as", WORKER, "--socket", SOCKET, *allow]
    server = subprocess.Popen(command, cwd=sandbox, stdout=subprocess.PIPE, text=True)
    assert server.stdout
    if not server.stdout.readline().startswith("listening"):
        raise SystemExit("the server has not started")
    return server


def start_worker(kind: isolation.Isolation, db_path: str, sandbox: str) -> subprocess.Popen[str]:
    """Start the worker with its program on stdin, so that it needs only the files of Python."""
    path = {"PATH": os.environ.get("PATH", os.defpath)}
    with open(os.path.join(HERE, "worker.py"), encoding="utf-8") as program:
        return kind.start(["-", SOCKET], os.path.dirname(db_path), cwd=sandbox, env=path, stdin=program)


def put_to_the_test(kind: isolation.Isolation, conductor: BusClient, auditor: BusClient) -> bool:
    """Send the worker a job, then let it try to break out; returns whether only the job succeeded."""
    secret = conductor.send(AUDITOR, "secret", SECRET, correlation_id="vault")
    sent = [
        secret,
        conductor.send(WORKER, "count-words", {"text": "a socket is all it takes"}),
        conductor.send(
            WORKER,
            "break-out",
            {
                "boss": CONDUCTOR,
                "victim": AUDITOR,
                "secret_id": secret.id,
                "correlation_id": "vault",
                "db_path": conductor.db_path if kind.hides else None,
            },
        ),
        conductor.send(WORKER, "no-more"),
    ]
    answers = {}
    for msg in conductor.listen(timeout_s=ANSWER_WITHIN_S):
        answers[msg.reply_to] = msg.body
        if len(answers) == 2:
            break
    else:
        print(f"the worker has not answered within {ANSWER_WITHIN_S:g} s", file=sys.stderr)
        return False
    words, tried = answers[sent[1].id]["words"], answers[sent[2].id]
    print(f"the worker took its job #{sent[1].id} and answered: {words} words")
    print(f"the worker may see who is there: {', '.join(tried['peers'])}")
    for what, outcome in tried["attempts"]:
        print(f"it tried to {what:33} {outcome}")
    if not kind.hides:
        print("it did not try to open the bus file: nothing here would have refused it")
    refused = sum(outcome.startswith("refused: ") for _, outcome in tried["attempts"])
    print(f"{len(tried['attempts'])} attempts, {refused} refused")
    return words == 6 and refused == len(tried["attempts"]) and is_untouched(conductor, auditor, sent)


def is_untouched(conductor: BusClient, auditor: BusClient, sent: list[Message]) -> bool:
    """Check the bus itself: only this process has sent in its name, and the auditor has not yet seen the secret."""
    mine = [msg.id for msg in conductor.tail(follow=False) if msg.sender == CONDUCTOR]
    waiting = [(msg.id, msg.state) for msg in auditor.inbox(peek=True)]
    is_so = mine == [msg.id for msg in sent] and waiting == [(sent[0].id, "sent")]
    auditor.ack(sent[0].id)
    print("the bus agrees: " + ("nothing was forged, the secret is unseen" if is_so else "NO, something was done"))
    return is_so


if __name__ == "__main__":
    sys.exit(main())
