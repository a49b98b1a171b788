"""The sessions: what the model of each agent would do.

usage: python sessions.py architect|coder|verifier|verifier-2 FOLDER
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from agent import WAIT_S, Agent


def architect(folder: Path) -> None:
    agent = Agent("architect", folder, "opencode", RAVEN_ROLE="architect", RAVEN_SESSION="demo")
    wait_for(agent, coder="listening", verifier="idle")
    agent.call("peers")
    question = "Which column did the migration add?"
    agent.call("send", to="verifier:demo", type="question", body=question, urgency="blocking", wait_s=WAIT_S)
    wait_for(agent, coder="listening", verifier="idle")
    agent.call("send", to="coder:demo", type="task", body="Index invoices by that column.", wait_s=WAIT_S)
    mail = agent.call("inbox")["messages"]
    agent.call("done", ids=[message["id"] for message in mail])
    agent.call("send", to="verifier:demo", type="task", body="Verify the new index.", wait_s=WAIT_S)


def wait_for(agent: Agent, **states: str) -> None:
    """Wait for the states of the others, so that the example runs in the same order each time; no agent needs that."""
    wanted = {f"{role}:demo": state for role, state in states.items()}
    while {peer["address"]: peer["state"] for peer in json.loads(agent.ask("peers"))["peers"]} != wanted:
        time.sleep(0.05)


def coder(folder: Path) -> None:
    agent = Agent("coder", folder, "codex-mcp-client")
    agent.call("join", role="coder", session="demo")
    (task,) = agent.call("inbox", wait_s=WAIT_S)["messages"]
    agent.call("send", to="*:demo", type="finding", body="The tests need 2 GB of memory.", urgency="fyi")
    agent.call("reply", id=task["id"], body="Done: invoices_tenant_id.")


def verifier(folder: Path) -> None:
    agent = Agent("verifier", folder, "claude-code", RAVEN_ROLE="verifier", RAVEN_SESSION="demo")
    agent.rest()
    (question,) = agent.call("inbox")["messages"]
    agent.call("reply", id=question["id"], body="tenant_id")
    agent.rest()  # the finding is fyi and wakes no one: the next notice is of the task
    agent.call("inbox")
    agent.say("is killed, with the task in hand")
    os.kill(os.getpid(), signal.SIGKILL)


def verifier_2(folder: Path) -> None:
    agent = Agent("verifier-2", folder, "claude-code", RAVEN_ROLE="verifier", RAVEN_SESSION="demo")
    for message in agent.call("inbox")["messages"]:
        if message["type"] == "task":
            agent.call("reply", id=message["id"], body="Verified: the planner uses it.")
        else:
            agent.call("done", ids=[message["id"]])


if __name__ == "__main__":
    _, script, place = sys.argv
    {"architect": architect, "coder": coder, "verifier": verifier, "verifier-2": verifier_2}[script](Path(place))
