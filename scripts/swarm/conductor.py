"""The conductor: hands out the work, kills a worker on the way, and prints each step as it happens."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from raven import BusClient, Message
from scripts.swarm.agents import AGENTS, Agents, DemoError
from scripts.swarm.review import python_files
from scripts.swarm.screen import Screen

# Far longer than a step takes, even on a busy machine.
_DEADLINE_S = 60.0
# Between two looks at the processes of the agents.
_SLICE_S = 0.25
_SHOWN_JOBS = 2
_SHOWN_FOLDERS = 5
_T = TypeVar("_T")


class Conductor:
    """The demo as `conductor:demo`; each wait for an agent has a deadline of 20 s."""

    def __init__(self, screen: Screen, agents: Agents, caller: str) -> None:
        self._screen = screen
        self._agents = agents
        self._caller = caller
        self._files = python_files()
        self._heard: list[Message] = []

    def run(self) -> None:
        """Run the demo from the start of the agents to their end; raises DemoError or RavenError."""
        name = os.path.relpath(self._agents.bus, self._caller)
        self._screen.line(f"RAVEN: {len(AGENTS) + 1} agents, one SQLite file ({name}), no server")
        self._agents.start()
        with BusClient("demo", "conductor", self._agents.bus) as self._bus:
            self._show_agents()
            self._show_messages()
            report = self._review_all()
            audit, longest = self._kill_a_worker()
            self._wake_the_idle_agent(report)
            self._bus.send("*:demo", "stop")
            self._agents.wait()
        self._show_table(report, longest)
        self._show_commands(audit)

    def _show_agents(self) -> None:
        self._screen.agent("conductor:demo", "python", os.getpid(), "hands out the work")
        for agent in AGENTS:
            self._wait(lambda address=agent.address: self._listens(address, 1), f"{agent.address} to listen")
            self._screen.agent(agent.address, agent.language, self._agents.pid(agent.name), agent.task)
        for queue in ("review:jobs", "audit:jobs"):
            workers = sum(queue in agent.queues for agent in AGENTS)
            self._wait(lambda queue=queue, workers=workers: self._listens(queue, workers), f"all workers of {queue}")

    def _show_messages(self) -> None:
        """Send a broadcast and the first jobs one by one, and print the time that each message took."""
        self._screen.heading("MESSAGES", "from send to delivery")
        start = self._bus.send("*:demo", "start", {"files": len(self._files)})
        times = self._times(start)
        self._screen.message(start, f"to all {len(times)} agents", max(times.values()))
        self._screen.times([(address.partition(":")[0], ms) for address, ms in times.items()])
        for path in self._files[:_SHOWN_JOBS]:
            job = self._bus.send("review:jobs", "review", {"path": path})
            answer = self._wait(lambda job=job: self._answer(job), f"an answer to #{job.id}")
            self._screen.message(job, Path(path).name, self._times(job)["review:jobs"])
            count = len(answer.body["findings"]) or "none"
            self._screen.message(answer, f"of #{job.id}: {count}", self._times(answer)["editor:demo"])

    def _review_all(self) -> dict[str, Any]:
        """Send the other jobs in one transaction, and return the editor's report."""
        started = time.monotonic()
        jobs = [{"to": "review:jobs", "type": "review", "body": {"path": path}} for path in self._files[_SHOWN_JOBS:]]
        self._bus.send_many(jobs)
        report = self._receive("report").body
        took_s = time.monotonic() - started
        shares = ", ".join(
            f"{address.partition(':')[0]} {count}" for address, count in sorted(report["reviewers"].items())
        )
        self._screen.line(f"  {len(jobs)} more jobs at once: {2 * len(jobs):,} messages in {took_s:.2f} s ({shares})")
        return dict(report)

    def _kill_a_worker(self) -> tuple[Message, dict[str, Any]]:
        """Kill the worker that has the audit; return the audit and the result of the worker that took it over."""
        self._screen.heading("A WORKER DIES", "from send to delivery")
        audit = self._bus.send("audit:jobs", "audit", {"paths": self._files})
        self._screen.message(audit, f"{len(self._files)} files", self._times(audit)["audit:jobs"])
        progress = self._receive("progress")
        victim = progress.sender
        name = victim.partition(":")[0]
        self._agents.kill(name)
        killed_at = datetime.now(UTC)
        parsed = f"{progress.body['files']} of {len(self._files)} files"
        self._screen.alarm(f"  {victim} has parsed {parsed}: kill -9 {self._agents.pid(name)}")
        started = self._receive("started", besides=victim)
        delay_s = (started.created_at - killed_at).total_seconds()
        if delay_s < 0:
            raise DemoError(f"{victim} lost its lease on #{audit.id} before it was killed: the machine is too busy")
        [receipt] = self._bus.receipts(audit.id)
        self._screen.line(
            f"  {started.sender} takes #{audit.id} over {delay_s:.2f} s later, when the lease ends: "
            f"attempt {receipt.attempts}"
        )
        result = self._receive("audited")
        took_s = (result.created_at - started.created_at).total_seconds()
        self._screen.line(f"  {result.sender} parses all {len(self._files)} files in {took_s:.2f} s: nothing is lost")
        return audit, result.body

    def _wake_the_idle_agent(self, report: dict[str, Any]) -> None:
        self._screen.heading("AN IDLE AGENT WAKES", "from send to delivery")
        sums = {key: sum(folder[key] for folder in report["folders"].values()) for key in ("files", "lines")}
        question = self._bus.send("checker:demo", "check", sums)
        answer = self._receive("checked")
        self._screen.message(question, f"{sums['lines']:,} lines?", self._times(question)["checker:demo"])
        verdict = "agrees" if answer.body["lines"] == sums["lines"] else f"counts {answer.body['lines']:,}"
        self._screen.message(
            answer, f"{verdict}, idle {answer.body['idle_s']:.2f} s", self._times(answer)["conductor:demo"]
        )

    def _show_table(self, report: dict[str, Any], longest: dict[str, Any]) -> None:
        self._screen.heading(
            f"{'FOUND':<14}{'files':>6}{'lines':>9}{'functions':>11}{'findings':>10}   longest function"
        )
        rows = [(folder, Counter(sums), longest.get(folder, (0, ""))) for folder, sums in report["folders"].items()]
        rows.sort(key=lambda row: row[0])
        if len(rows) > _SHOWN_FOLDERS:
            rest = rows[_SHOWN_FOLDERS - 1 :]
            sums = sum((row[1] for row in rest), Counter[str]())
            rows[_SHOWN_FOLDERS - 1 :] = [("others", sums, max(row[2] for row in rest))]
        rows.append(("all", sum((row[1] for row in rows), Counter[str]()), max(tuple(row[2]) for row in rows)))
        for folder, sums, (lines, name) in rows:
            self._screen.line(
                f"  {folder[:12]:<12}{sums['files']:>6}{sums['lines']:>9,}{sums['functions']:>11,}"
                f"{sums['findings']:>10}   {lines} lines: {name}"
            )
        findings = report["findings"]
        if findings:
            more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
            self._screen.line(f"  {findings[0]}{more}")

    def _show_commands(self, audit: Message) -> None:
        self._screen.heading("LOOK FURTHER")
        raven = _shortest(str(Path(sys.executable).parent / "raven"), self._caller)
        db = _shortest(self._agents.bus, self._caller)
        self._screen.command("every message", f"{raven} tail --no-follow --db {db}")
        self._screen.command("the job taken over", f"{raven} thread {audit.id} --db {db}")
        self._screen.command("rates and latencies", f"{raven} stats --db {db}")

    def _listens(self, address: str, count: int) -> bool:
        return any(peer.address == address and peer.waiting >= count for peer in self._bus.peers())

    def _answer(self, job: Message) -> Message | None:
        return next((message for message in self._bus.thread(job.id) if message.reply_to == job.id), None)

    def _times(self, message: Message) -> dict[str, float]:
        """Wait until each recipient has a message, and return the milliseconds from its send to each delivery."""

        def try_once() -> dict[str, float] | None:
            taken = {receipt.recipient: receipt.delivered_at for receipt in self._bus.receipts(message.id)}
            times = {address: at - message.created_at for address, at in taken.items() if at is not None}
            if times.keys() != taken.keys():
                return None
            return {address: 1000 * time.total_seconds() for address, time in times.items()}

        return self._wait(try_once, f"all recipients of #{message.id}")

    def _receive(self, type: str, besides: str = "") -> Message:
        """Wait for a message of a type from another sender than `besides`."""

        def try_once() -> Message | None:
            matching = (m for m in self._heard if m.type == type and m.sender != besides)
            if message := next(matching, None):
                return message
            for message in self._bus.listen(timeout_s=_SLICE_S):
                self._heard.append(message)
                break
            return None

        return self._wait(try_once, f"the message '{type}'")

    def _wait(self, try_once: Callable[[], _T | None], awaited: str) -> _T:
        """Call `look` until it returns a true value; raises DemoError if an agent has ended or the time is over."""
        deadline = time.monotonic() + _DEADLINE_S
        while not (value := try_once()):
            self._agents.check()
            if time.monotonic() > deadline:
                raise DemoError(f"waited {_DEADLINE_S:g} s in vain for {awaited}")
            time.sleep(0.002)
        return value


def _shortest(path: str, folder: str) -> str:
    """Return a path for a shell in `folder`, relative if that is shorter."""
    return shlex.quote(min(path, os.path.relpath(path, folder), key=len))
