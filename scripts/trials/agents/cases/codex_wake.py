"""Codex between turns: mail wakes an idle session, and each terminal is a session of its own."""

from __future__ import annotations

import statistics

from scripts.harness.deadline import wait_until
from scripts.trials.agents.case import Case
from scripts.trials.agents.cases.codex import TRUST
from scripts.trials.agents.cases.mailbox import MailReader, agents, noticed, wait_for_idle
from scripts.trials.agents.hosts.codex import Codex
from scripts.trials.agents.model.turn import Request

_WAKES, _WAKES_ALONE = 20, 3


def idle(case: Case) -> None:
    """Wake an idle session of the daemon, from the start of `raven send` to the next request to the model."""
    codex = Codex(case)
    codex.install()
    codex.trust_hooks()
    took_ms = _wake_often(case, codex, _WAKES)
    case.expect(max(took_ms) < 2000, f"each takes less than 2 s: {max(took_ms):.0f} ms at most")


def alone(case: Case) -> None:
    """Wake an idle session that an option keeps from the daemon: Codex then looks at its queue every 10 s."""
    codex = Codex(case)
    codex.install()
    took_ms = _wake_often(case, codex, _WAKES_ALONE, TRUST)
    case.expect(max(took_ms) < 15_000, f"each takes less than 15 s: {max(took_ms):.0f} ms at most")


def _wake_often(case: Case, codex: Codex, times: int, *options: str) -> list[float]:
    codex.model.model = MailReader()
    terminal = codex.start(*options)
    terminal.type("hello")
    terminal.wait_for("I am idle now.")
    address = agents(case, "codex")[0]
    took_ms = [_wake(case, codex, address, f"news {number}")[1] for number in range(times)]
    median = statistics.median(took_ms)
    case.see(f"{times} of {times} woken, median {median:.0f} ms, {min(took_ms):.0f} to {max(took_ms):.0f}")
    return took_ms


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
    codex.trust_hooks()
    codex.model.model = MailReader()
    for _ in range(2):
        terminal = codex.start()
        terminal.type("hello")
        terminal.wait_for("I am idle now.")
    first, second = agents(case, "codex", 2)
    case.expect(first != second, f"two terminals are two addresses: {first}, {second}")
    woken = [_wake(case, codex, address, f"news for {address}")[0] for address in (first, second)]
    threads = {request.body.get("prompt_cache_key") for request in woken}
    case.expect(len(threads) == 2, f"each terminal is woken by its own mail: {threads}")
    case.see(f"two addresses, {first} and {second}; each is woken by its own mail")
