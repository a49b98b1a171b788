"""The editor: adds up the findings of all files by folder, and sends the sums to the conductor."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from raven import BusClient
from scripts.swarm.review import folder_of
from scripts.swarm.worker import LIFETIME_S


def main() -> None:
    """Work until the broadcast `stop`."""
    expected = 0
    folders: dict[str, Counter[str]] = defaultdict(Counter)
    reviewers: Counter[str] = Counter()
    findings: list[str] = []
    with BusClient("demo", "editor") as bus:
        for message in bus.listen(timeout_s=LIFETIME_S):
            if message.type == "start":
                expected = message.body["files"]
            elif message.type == "findings":
                _add(folders[folder_of(message.body["path"])], message.body)
                findings += [f"{message.body['path']}:{finding}" for finding in message.body["findings"]]
                reviewers[message.sender] += 1
                if reviewers.total() == expected:
                    report = {"folders": folders, "findings": sorted(findings), "reviewers": reviewers}
                    bus.send("conductor:demo", "report", report)
            elif message.type == "stop":
                break


def _add(sums: Counter[str], review: dict[str, Any]) -> None:
    sums.update(files=1, lines=review["lines"], functions=review["functions"], findings=len(review["findings"]))


if __name__ == "__main__":
    main()
