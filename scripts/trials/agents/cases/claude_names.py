"""Claude Code over several conversations: its address stays, and its mail waits for it."""

from __future__ import annotations

from scripts.harness.deadline import wait_until
from scripts.trials.agents.case import Case
from scripts.trials.agents.cases.mailbox import MailReader, agents, noticed, state, steps
from scripts.trials.agents.hosts.claude import Claude
from scripts.trials.agents.model.turn import Answer, Request, Say, Use
from scripts.trials.agents.terminal import Terminal


def names(case: Case) -> None:
    """Clear a session, start a second one beside it, end both, and resume the first, for which mail has come."""
    claude = Claude(case)
    claude.install("--allow")
    claude.model.model = MailReader()
    first = claude.start()
    _say(claude, first, "hello")
    (address,) = agents(case, "claude-code")
    _say(claude, first, "/clear", has_answer=False)
    _say(claude, first, "hello again")
    case.expect(agents(case, "claude-code") == [address], "/clear keeps the address, and makes no second one")
    id, _ = case.send(address, "news after /clear")
    claude.model.wait_for(lambda request: id in noticed(request), "a wake after /clear")
    wait_until(lambda: claude.model.has_ended_turn, "the end of the turn")
    second = claude.start()
    _say(claude, second, "hello")
    both = agents(case, "claude-code", 2)
    case.expect(len(set(both)) == 2, f"two sessions in one folder have two addresses: {both}")
    second.close()
    first.close()
    wait_until(lambda: state(case, address) == "away", "the end of the first session")
    id, _ = case.send(address, "news for later", "fyi")
    resumed = claude.start("--resume", _session_of(claude, "hello again"))
    seen = len(claude.model.requests)
    _say(claude, resumed, "I am back")
    told = [request for request in claude.model.requests[seen:] if f"#{id} " in request.text]
    case.expect(told, "the resumed session is told of mail that came while it was away")
    wait_until(lambda: state(case, address) in {"idle", "busy"}, "the resumed session at its old address", 30)
    case.expect(len(agents(case, "claude-code", 2)) == 2, "the resumed session has no new address")
    case.see("/clear keeps the address; a second session gets its own; --resume finds the address and its mail")


def _say(claude: Claude, terminal: Terminal, text: str, *, has_answer: bool = True) -> None:
    """Type a text, and wait until the model has answered it."""
    seen = len(claude.model.requests)
    terminal.type(text)
    if has_answer:
        claude.model.wait_for(lambda request: text in request.news, f"the request of {text}", seen)
        wait_until(lambda: claude.model.has_ended_turn, "the end of the turn")


def _session_of(claude: Claude, text: str) -> str:
    """Return the id of the session in which a text was typed, from the name of its transcript."""
    transcripts = (claude.case.home / ".claude" / "projects").rglob("*.jsonl")
    return next(path.stem for path in transcripts if text in path.read_text(encoding="utf-8"))


def named_agent(case: Case) -> None:
    """Start a session as an agent of the user's own: its name is the session's role."""
    definition = case.project / ".claude" / "agents" / "reviewer.md"
    definition.parent.mkdir(parents=True)
    definition.write_text("---\nname: reviewer\ndescription: Reviews changes.\n---\nReview.\n", encoding="utf-8")
    claude = Claude(case)
    claude.install()
    claude.model.model = steps()
    claude.print("work", "--agent", "reviewer")
    addresses = agents(case, "claude-code")
    case.expect(addresses == ["reviewer:shop"], f"the name of the agent is the role: {addresses}")
    case.see("`claude --agent reviewer` is reviewer:shop")


def subagent(case: Case) -> None:
    """Send mail while a subagent works: the subagent hears nothing, and the main agent does."""
    claude = Claude(case)
    claude.install()
    sent: list[int] = []
    task = "the task of a subagent"

    def model(request: Request) -> Answer:
        if task not in str(request.body["messages"][0]):
            call = {"description": "a task", "prompt": task, "subagent_type": "claude", "run_in_background": False}
            return Say("I am idle now.") if sent else Use("Agent", call)
        if sent:
            return Say("The task is done.")
        sent.append(case.send(agents(case, "claude-code")[0], "a secret")[0])
        return Use("Bash", {"command": "true", "description": "Do nothing"})

    claude.model.model = model
    claude.print("work", "--allowedTools", "Bash(true)", "Agent")
    told = [task in str(request.body["messages"][0]) for request in claude.model.requests if noticed(request)]
    case.expect(told == [False], f"the main agent is told once, and the subagent is not: {told}")
    case.expect(len(agents(case, "claude-code")) == 1, "the subagent has no address of its own")
    case.see("mail that comes during the work of a subagent is told to the main agent alone")
