"""Run the news desk of example 03 on two hosts, and pull the network cable of one of them while it works."""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from cable import Cable

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "03-news-desk"))

import run as news_desk  # noqa: E402 (the run.py of example 03, whose agents work here as they are)
import schemas  # noqa: E402
from agents import address  # noqa: E402

from raven import BusClient, BusObserver  # noqa: E402

ROLES = {"alpha": ["scout", "writer", "publisher"], "beta": ["editor", "fact-checker"]}
DRAFTS = 3
CUT_S = 3.0
START_WITHIN_S = 45.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "folder", nargs="?", help="a folder for both hosts, which must not exist yet (default: a new one)"
    )
    args = parser.parse_args()
    server = shutil.which("nats-server", path=f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}")
    if server is None:
        parser.error("nats-server is not installed: see https://nats.io/download/")
    if args.folder and os.path.exists(args.folder):
        parser.error(f"{args.folder} exists already: each run makes hosts of its own")
    folder = args.folder or os.path.join(tempfile.mkdtemp(prefix="raven-two-hosts-"), "hosts")
    buses = {host: os.path.join(folder, host, "bus.db") for host in ROLES}
    for path in buses.values():
        os.makedirs(os.path.dirname(path))

    schemas.enforce()
    with nats(server, folder) as port:
        cable = Cable(port)
        with relay(buses["alpha"], "alpha", port), relay(buses["beta"], "beta", cable.port):
            stories, all_went_home = publish(buses, cable)
            is_whole = bool(stories) and all(map(is_finished, buses.values()))
    news_desk.print_transcript(buses["alpha"])
    news_desk.print_front_page(stories)
    print(f"alpha: {buses['alpha']}")
    print(f"beta:  {buses['beta']}")
    return 0 if all_went_home and is_whole else 1


def publish(buses, cable):
    """Run the agents of both hosts until the edition is out; returns the stories, and whether all agents ended well."""
    with BusClient.at(address("chief"), buses["alpha"]) as chief:
        chief.register(*(address(role) for roles in ROLES.values() for role in roles))
        crew = [news_desk.start(role, buses[host]) for host, roles in ROLES.items() for role in roles]
        try:
            await_beta(chief)
            cable.pull()
            print("the cable of beta is pulled, and the work begins")
            threading.Thread(target=plug_later, args=(cable, buses["alpha"]), daemon=True).start()
            stories = news_desk.edit_one_edition(chief)
            return stories, bool(stories) and news_desk.went_home(crew)
        finally:
            for process in crew:
                process.kill()
                process.wait()


def await_beta(chief: BusClient) -> None:
    """Wait until the agents of beta are on duty: their messages have crossed."""
    missing = set(map(address, ROLES["beta"]))
    for msg in chief.listen(timeout_s=START_WITHIN_S):
        missing.discard(msg.sender)
        if not missing:
            return
    sys.exit(f"not on duty within {START_WITHIN_S:g} s: {', '.join(sorted(missing))}")


def plug_later(cable: Cable, alpha: str) -> None:
    """Plug the cable in again, some seconds after the writer has sent all first drafts."""
    drafts = []
    with BusObserver(alpha) as bus:
        for msg in bus.tail():
            drafts += [msg.id] if msg.type == "draft" else []
            if len(drafts) == DRAFTS:
                break
        time.sleep(CUT_S)
        waiting = [one for id_ in drafts for one in bus.receipts(id_) if one.state == "sent"]
    print(f"{len(waiting)} deliveries of {DRAFTS} drafts wait for beta; the cable is plugged in again")
    cable.plug()


def is_finished(db_path: str) -> bool:
    """Wait until each message of a bus is acked: the last receipts are still on their way when the agents end."""
    end = time.monotonic() + START_WITHIN_S
    with BusObserver(db_path) as bus:
        while any(msg.state != "acked" for msg in bus.tail(follow=False)):
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
    return True


@contextmanager
def nats(server: str, folder: str) -> Iterator[int]:
    """Run a NATS server with JetStream on a free port of 127.0.0.1."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [server, "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", os.path.join(folder, "nats")]
    with open(os.path.join(folder, "nats.log"), "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield port
    finally:
        process.kill()
        process.wait()


@contextmanager
def relay(db_path: str, name: str, port: int) -> Iterator[None]:
    """Run `raven link` for a bus; yields when the bus is linked."""
    command = [sys.executable, "-m", "raven", "link", f"nats://127.0.0.1:{port}", "--name", name, "--db", db_path]
    with (
        open(f"{db_path}.link.log", "wb") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        try:
            line = process.stdout.readline()
            if not line:
                sys.exit(f"the relay of {name} has ended: see {db_path}.link.log")
            print(f"{line.partition(' over')[0]}: {', '.join(ROLES[name])}")
            yield
        finally:
            process.terminate()


if __name__ == "__main__":
    sys.exit(main())
