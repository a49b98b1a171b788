"""Approval: which tools of raven a program calls without asking its user, in its default mode."""

from __future__ import annotations

from scripts.trials.agents.case import Case
from scripts.trials.agents.cases.mailbox import load
from scripts.trials.agents.hosts.claude import Claude
from scripts.trials.agents.hosts.codex import Codex
from scripts.trials.agents.model.turn import Answer, Model, Request, Say, Use

_CALLS = {
    "send": {"to": "boss:desk", "body": "hello"},
    "inbox": {},
    "peers": {},
    "thread": {"id": 1},
    "done": {"ids": [1]},
}


def claude(case: Case) -> None:
    """Call each tool in a session that nothing was allowed to, and in one that was installed with --allow."""
    program = Claude(case)
    for options in ((), ("--allow",)):
        program.install(*options)
        free = [tool for tool in _CALLS if not _is_refused(program, tool)]
        case.see(f"{'with --allow' if options else 'by default'}: {', '.join(free) or 'none'}")
    case.expect(set(free) == set(_CALLS), f"--allow spares all questions: {free}")


def _is_refused(program: Claude, tool: str) -> bool:
    program.model.requests.clear()
    program.model.model = _call(tool)
    program.print("work")
    return any(word in program.model.requests[-1].news for word in ("permission", "haven't granted", "denied"))


def codex(case: Case) -> None:
    """Call each tool in a session with the default policy."""
    program = Codex(case)
    program.install()
    free = []
    for tool in _CALLS:
        program.model.requests.clear()
        program.model.model = _call(tool)
        program.exec("work")
        news = program.model.requests[-1].news
        if not any(word in news for word in ("cancelled", "rejected", "denied", "approval")):
            free.append(tool)
    case.expect(set(free) == set(_CALLS), f"no tool of raven needs an approval: {free}")
    case.see(f"by default: {', '.join(free)}")


def _call(tool: str) -> Model:
    """Return a model that calls a tool of raven once, and loads it before if the program has deferred it."""
    has_called = False

    def model(request: Request) -> Answer:
        nonlocal has_called
        if has_called:
            return Say("I am idle now.")
        if not (name := request.find(tool)):
            return load(request, tool)
        has_called = True
        return Use(name, _CALLS[tool])

    return model
