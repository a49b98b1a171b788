"""Mailbox: models that deal with mail as an agent does, and the address of the agent under trial."""

from __future__ import annotations

import re
from collections.abc import Callable

from scripts.harness.deadline import wait_until
from scripts.trials.agents.case import Case
from scripts.trials.agents.model.turn import Answer, Request, Say, Use

# The beginning of a notice.
NOTICE = re.compile(r"raven: [^\n]*#(\d+)")


def noticed(request: Request) -> set[int]:
    """Return the ids in the notices that a request brings."""
    return {int(id) for line in re.findall(r"raven: [^\n]*", request.news) for id in re.findall(r"#(\d+)", line)}


def read_mail(request: Request) -> Answer:
    """Read mail at a notice, finish it once it is read, and say so."""
    shown = [int(id) for id in re.findall(r'"id": ?(\d+), ?"from"', request.news.replace('\\"', '"'))]
    if shown and (tool := request.find("done")):
        return Use(tool, {"ids": shown})
    if noticed(request) and (tool := request.find("inbox")):
        return Use(tool)
    return Say("I am idle now.")


def agents(case: Case, host: str, count: int = 1) -> list[str]:
    """Wait for the addresses of agents of a host program, and return them in their order of appearance."""
    return wait_until(
        lambda: found if len(found := _agents(case, host)) >= count else None, f"{count} agents of {host}", 30, 0.2
    )


def _agents(case: Case, host: str) -> list[str]:
    return [peer["address"] for peer in case.peers() if peer.get("agent") == host]


def state(case: Case, address: str) -> str:
    """Return the state of an agent as `raven peers` shows it."""
    return next((str(peer.get("state")) for peer in case.peers() if peer["address"] == address), "")


def wait_for_idle(case: Case, address: str) -> None:
    """Wait until an agent is idle, or listening."""
    wait_until(lambda: state(case, address) in {"idle", "listening"}, f"{address} becomes idle", 30, 0.05)


def steps(*answers: Answer | Callable[[Request], Answer]) -> Callable[[Request], Answer]:
    """Return a model that gives these answers one after another, and then says that it is idle."""
    left = list(answers)

    def model(request: Request) -> Answer:
        step = left.pop(0) if left else Say("I am idle now.")
        return step if isinstance(step, Say | Use) else step(request)

    return model
