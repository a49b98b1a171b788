"""Claude Code between turns: mail wakes an idle session."""

from __future__ import annotations

import json
import socket
import statistics
import time

from scripts.harness.deadline import wait_until
from scripts.trials.agents import processes
from scripts.trials.agents.case import Case
from scripts.trials.agents.cases.mailbox import MailReader, agents, noticed, steps, wait_for_idle
from scripts.trials.agents.hosts.claude import Claude
from scripts.trials.agents.model.turn import Answer, Request, Say, Use

_WAKES = 20


def idle(case: Case) -> None:
    """Wake an idle session 20 times, from the start of `raven send` to the next request to the model."""
    claude = Claude(case)
    claude.install("--allow")
    claude.model.model = MailReader()
    terminal = claude.start()
    terminal.type("hello")
    terminal.wait_for("I am idle now.")
    address = agents(case, "claude-code")[0]
    took_ms = [_wake(case, claude, address, f"news {number}") for number in range(_WAKES)]
    _judge(case, took_ms)
    wait_until(lambda: claude.model.has_ended_turn, "the end of the last turn")
    left = json.loads(case.raven("inbox", "--address", address, "--peek", "--json"))["messages"]
    case.expect(not left, f"the session has finished all mail: {len(left)} are left")


def _wake(case: Case, claude: Claude, address: str, text: str) -> float:
    """Send mail to an idle session; returns the milliseconds until a request to the model tells of it."""
    wait_until(lambda: claude.model.has_ended_turn, "the end of the last turn")
    wait_for_idle(case, address)
    seen = len(claude.model.requests)
    id, began = case.send(address, text)
    request = claude.model.wait_for(lambda request: id in noticed(request), f"a request that tells of #{id}", seen)
    return (request.at - began) * 1000


def _judge(case: Case, took_ms: list[float]) -> None:
    median = statistics.median(took_ms)
    case.expect(median <= 500, f"the median is at most 500 ms: {median:.0f} ms")
    case.expect(max(took_ms) < 1000, f"each takes less than 1 s: {max(took_ms):.0f} ms at most")
    case.see(
        f"{len(took_ms)} of {len(took_ms)} woken, median {median:.0f} ms, {min(took_ms):.0f} to {max(took_ms):.0f}"
    )


def bypass(case: Case) -> None:
    """Wake a session without permission dialogs; a message of a process that is none of its own must not."""
    case.environment["IS_SANDBOX"] = "1"
    claude = Claude(case)
    claude.install()
    claude.model.model = MailReader()
    terminal = claude.start("--dangerously-skip-permissions")
    terminal.type("hello")
    terminal.wait_for("I am idle now.")
    address = agents(case, "claude-code")[0]
    took_ms = [_wake(case, claude, address, f"news {number}") for number in range(3)]
    case.see(f"its own server woke it {len(took_ms)} times, median {statistics.median(took_ms):.0f} ms")
    seen = len(claude.model.requests)
    wait_until(lambda: claude.model.has_ended_turn, "the end of the last turn")
    _post_as_stranger(_inbox_socket(case), "raven: #999 from boss:desk")
    time.sleep(5)
    woken = any("#999" in request.news for request in claude.model.requests[seen:])
    case.expect(not woken, "a message of a process that is none of its own does not reach the model")
    case.see("a message of another process was held for the user")


def _inbox_socket(case: Case) -> str:
    """Return the inbox socket of the session, from the environment of its server."""
    for _, values in processes.environments(case.home):
        if path := values.get("CLAUDE_CODE_MESSAGING_SOCKET"):
            return path
    raise AssertionError("no process has CLAUDE_CODE_MESSAGING_SOCKET")


def _post_as_stranger(path: str, text: str) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(path)
        message = {"type": "user", "message": {"role": "user", "content": text}}
        connection.sendall(json.dumps(message).encode() + b"\n")
        connection.shutdown(socket.SHUT_WR)
        try:
            connection.recv(1000)
        except OSError:
            return


def background(case: Case) -> None:
    """Let the model wait for mail until the program moves the call to the background, then send."""
    claude = Claude(case)
    claude.install("--allow")

    def wait(request: Request) -> Answer:
        return Use(request.find("inbox"), {"wait_s": 600})

    claude.model.model = steps(wait, Say("I wait in the background."))
    terminal = claude.start()
    terminal.type("wait for mail")
    began = time.monotonic()
    terminal.wait_for("I wait in the background.", 180)
    moved_s = time.monotonic() - began
    address = agents(case, "claude-code")[0]
    seen = len(claude.model.requests)
    _, sent = case.send(address, "the long awaited news")
    request = claude.model.wait_for(lambda request: "long awaited" in request.news, "the result of the call", seen)
    took_ms = 1000 * (request.at - sent)
    case.see(f"moved to the background after {moved_s:.0f} s; the mail woke the session in {took_ms:.0f} ms")
