"""The editor: collects the findings of all files, prints them as a table, and tells the conductor that it is done."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from raven import BusClient


def main() -> None:
    expected = None
    reviews: list[dict[str, Any]] = []
    with BusClient("demo", "editor") as bus:
        for message in bus.listen(timeout_s=100):
            if message.type == "assignment":
                expected = message.body["files"]
            else:
                reviews.append(message.body)
            if len(reviews) == expected:
                break
        print_table(sorted(reviews, key=lambda review: review["path"]))
        bus.send("conductor:demo", "published", {"files": len(reviews)})


def print_table(reviews: list[dict[str, Any]]) -> None:
    """Print a line per folder, then every finding, then who reviewed how many."""
    folders: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for review in reviews:
        folders[str(Path(review["path"]).parent)].append(review)
    print(f"{'folder':<28}{'files':>7}{'lines':>8}{'functions':>11}{'findings':>10}")
    for folder, inside in [*folders.items(), ("all", reviews)]:
        sums = [sum(review[key] for review in inside) for key in ("lines", "functions")]
        findings = sum(len(review["findings"]) for review in inside)
        print(f"{folder:<28}{len(inside):>7}{sums[0]:>8}{sums[1]:>11}{findings:>10}")
    for review in reviews:
        for finding in review["findings"]:
            print(f"  {review['path']}:{finding}")
    shares = Counter(review["by"] for review in reviews)
    print("reviewed by: " + ", ".join(f"{who} ({count})" for who, count in shares.most_common()), flush=True)


if __name__ == "__main__":
    main()
