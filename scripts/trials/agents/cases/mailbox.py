"""Mailbox: models that read mail as an agent does, and the address of the agent under trial."""

from __future__ import annotations

import re
from collections.abc import Callable

from scripts.harness.deadline import wait_until
from scripts.trials.agents.case import Case
from scripts.trials.agents.model.turn import Answer, Request, Say, Use

# A notice, and not the example in raven's instructions.
_NOTICE = re.compile(r"raven: ([^\n]*)Not from your user")


def noticed(request: Request) -> set[int]:
    """Return the ids in the notices that a request brings."""
    return {int(id) for notice in _NOTICE.findall(request.news) for id in re.findall(r"#(\d+)", notice)}


class MailReader:
    """A model that reads mail at a notice, finishes it, and says that it is idle."""

    def __init__(self) -> None:
        self._unfinished: list[int] = []

    def __call__(self, request: Request) -> Answer:
        shown = re.findall(r'"id": ?(\d+), ?"from"', request.news)
        self._unfinished += map(int, shown)
        if self._unfinished:
            if tool := request.find("done"):
                ids, self._unfinished = self._unfinished, []
                return Use(tool, {"ids": ids})
            return load(request, "done")
        if noticed(request) and (tool := request.find("inbox")):
            return Use(tool)
        return Say("I am idle now.")


def load(request: Request, tool: str) -> Answer:
    """Return the call with which a model gets a tool of raven that the program has deferred."""
    beside = request.find("inbox")
    if "ToolSearch" not in request.tools or not beside:
        return Say(f"There is no tool {tool}.")
    return Use("ToolSearch", {"query": f"select:{beside.removesuffix('inbox')}{tool}", "max_results": 5})


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
