"""Codex between turns: mail wakes an idle session, and each terminal is a session of its own."""

from __future__ import annotations

import statistics

from scripts.harness.deadline import wait_until
from scripts.trials.agents.case import Case
from scripts.trials.agents.cases.codex import TRUST
from scripts.trials.agents.cases.mailbox import agents, noticed, read_mail, wait_for_idle
from scripts.trials.agents.hosts.codex import Codex
from scripts.trials.agents.model.turn import Request

_WAKES = 5


def idle(case: Case) -> None:
    """Wake an idle session, from the start of `raven send` to the next request to the model."""
    codex = Codex(case)
    codex.install()
    codex.model.model = read_mail
    terminal = codex.start(TRUST)
    terminal.type("hello")
    terminal.wait_for("I am idle now.")
    address = agents(case, "codex")[0]
    took_ms = [_wake(case, codex, address, f"news {number}")[1] for number in range(_WAKES)]
    median = statistics.median(took_ms)
    case.see(f"{_WAKES} of {_WAKES} woken, median {median:.0f} ms, {min(took_ms):.0f} to {max(took_ms):.0f}")


def _wake(case: Case, codex: Codex, address: str, text: str) -> tuple[Request, float]:
    """Send mail to an idle session; returns the request that tells of it, and the milliseconds until it came."""
    wait_until(lambda: codex.model.has_ended_turn, "the end of the last turn")
    wait_for_idle(case, address)
    seen = len(codex.model.requests)
    id, began = case.send(address, text)
    request = codex.model.wait_for(lambda request: id in noticed(request), f"a request that tells of #{id}", seen)
    return request, (request.at - began) * 1000


def two_terminals(case: Case) -> None:
    """Start two terminals, which share one daemon, and send mail to each."""
    codex = Codex(case)
    codex.install()
    codex.model.model = read_mail
    for _ in range(2):
        terminal = codex.start(TRUST)
        terminal.type("hello")
        terminal.wait_for("I am idle now.")
    first, second = agents(case, "codex", 2)
    case.expect(first != second, f"two terminals are two addresses: {first}, {second}")
    woken = [_wake(case, codex, address, f"news for {address}")[0] for address in (first, second)]
    threads = {request.body.get("prompt_cache_key") for request in woken}
    case.expect(len(threads) == 2, f"each terminal is woken by its own mail: {threads}")
    case.see(f"two addresses, {first} and {second}; each is woken by its own mail")
