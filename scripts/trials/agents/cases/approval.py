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
    "reply": {"id": 1, "body": "hello"},
    "done": {"ids": [1]},
    "join": {"role": "tester"},
}


def claude(case: Case) -> None:
    """Call each tool in a session that nothing was allowed to, and in one that was installed with --allow."""
    program = Claude(case)
    program.install()
    asked = [tool for tool in _CALLS if _is_refused(program, tool)]
    program.install("--allow")
    still_asked = [tool for tool in _CALLS if _is_refused(program, tool)]
    case.expect(not still_asked, f"--allow spares all questions: {', '.join(still_asked)}")
    case.see(f"it asks for {len(asked)} of {len(_CALLS)} tools, with --allow for none")


def _is_refused(program: Claude, tool: str) -> bool:
    program.model.requests.clear()
    program.model.model = _call(tool)
    program.print("work")
    return any(word in program.model.requests[-1].news for word in ("permission", "haven't granted", "denied"))


def codex(case: Case) -> None:
    """Call each tool in a session with the default policy."""
    program = Codex(case)
    program.install()
    asked = []
    for tool in _CALLS:
        program.model.requests.clear()
        program.model.model = _call(tool)
        program.exec("work")
        news = program.model.requests[-1].news
        if any(word in news for word in ("cancelled", "rejected", "denied", "approval")):
            asked.append(tool)
    case.expect(not asked, f"no tool of raven needs an approval: {', '.join(asked)}")
    case.see(f"it asks for none of {len(_CALLS)} tools, because of their annotations")


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
