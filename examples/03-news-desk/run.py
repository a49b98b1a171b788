"""Run the desk: start five agents, hand out the assignment, and print their messages."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile

import schemas
from agents import ROLES, SESSION, address

from raven import BusClient, BusObserver, Message

EDITION_WITHIN_S = 45.0
EXIT_WITHIN_S = 20.0
HERE = os.path.dirname(os.path.abspath(__file__))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("db", nargs="?", help="the bus file, which must not exist yet (default: in a new temp folder)")
    args = parser.parse_args()
    if args.db and os.path.exists(args.db):
        parser.error(f"{args.db} exists already: each run makes a bus of its own")
    db_path = args.db or os.path.join(tempfile.mkdtemp(prefix="raven-news-desk-"), "bus.db")

    schemas.enforce()
    with BusClient.at(address("chief"), db_path) as chief:
        chief.register(*map(address, ROLES))
        crew = [start(role, db_path) for role in ROLES]
        try:
            stories = edit_one_edition(chief)
            all_went_home = bool(stories) and went_home(crew)
        finally:
            for process in crew:
                process.kill()
                process.wait()
    print_transcript(db_path)
    print_front_page(stories)
    print(f"bus: {db_path}")
    return 0 if all_went_home else 1


def start(role: str, db_path: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, os.path.join(HERE, "agents.py"), role, db_path])


def went_home(crew: list[subprocess.Popen[bytes]]) -> bool:
    """Wait for the agents to end; returns whether all ended in time with exit code 0."""
    try:
        return all(process.wait(EXIT_WITHIN_S) == 0 for process in crew)
    except subprocess.TimeoutExpired:
        return False


def edit_one_edition(chief: BusClient) -> list[Message]:
    """Send the scout its assignment and collect the stories; returns an empty list if the edition is late."""
    assignment = schemas.Assignment(wire="wire.json", least_change_pct=5.0)
    chief.send(address("scout"), "assignment", assignment)
    stories = []
    for msg in chief.listen(timeout_s=EDITION_WITHIN_S):
        if msg.type == "story":
            stories.append(msg)
        elif msg.type == "edition":
            return stories
    print(f"no edition within {EDITION_WITHIN_S:g} s", file=sys.stderr)
    return []


def print_transcript(db_path: str) -> None:
    """Print the messages on the bus, each with its time, route and story."""
    with BusObserver(db_path) as bus:
        messages = list(bus.tail(follow=False))
    # On a linked bus a message of another host comes in after younger ones of this host.
    start = min(msg.created_at for msg in messages)
    for msg in messages:
        seconds = (msg.created_at - start).total_seconds()
        sender, recipient = (text.replace(f":{SESSION}", "") for text in (msg.sender, msg.recipient))
        who = f"{sender} -> {recipient}"
        print(f"{seconds:5.2f} s  {who:32} {msg.type:10}  {msg.correlation_id or '-':13}  {schemas.body_of(msg)}")


def print_front_page(stories: list[Message]) -> None:
    print(f"\n{' THE DAILY RAVEN ':=^80}")
    for msg in stories:
        story = schemas.Story.model_validate(msg.body)
        print(f"\n{story.headline}\n{story.text}")
    print(f"\n{'':=^80}")


if __name__ == "__main__":
    sys.exit(main())
