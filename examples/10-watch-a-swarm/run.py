"""Start a swarm of agents and a live page to watch it; kill and restart agents and the page's server meanwhile."""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import webbrowser
from pathlib import Path

from agents import CREW, address
from watcher import Watcher

from raven import BusClient, BusObserver

AGENTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "agents.py")
FINISH_WITHIN_S = 60.0
LOOK_EVERY_S = 0.1


class Server:
    """`raven serve --http` in a process of its own; a restart keeps its port."""

    def __init__(self, db_path: str) -> None:
        self._command = [sys.executable, "-m", "raven", "serve", "--db", db_path, "--no-socket", "--http"]
        self.url = self._start("127.0.0.1:0")
        # Only this user can read the file.
        self.token = Path(f"{db_path}.http-token").read_text(encoding="ascii").strip()

    def _start(self, where: str) -> str:
        """Start a server and return the address that it prints once it listens."""
        self._process = subprocess.Popen([*self._command, where], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        words = self._process.stdout.readline().split()
        if not words:
            raise SystemExit("the server has ended by itself")
        return words[-1]

    def replace(self) -> None:
        """Kill the server with -9 and start another one."""
        self.kill()
        self._start(self.url.removeprefix("http://").rstrip("/"))

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


class Swarm:
    """The processes of the agents, each restarted when it dies."""

    def __init__(self, db_path: str, seed: int) -> None:
        self.deaths = 0
        self._db_path = db_path
        self._rng = random.Random(seed)
        self._running = [(role, self._start(role)) for role in CREW]

    def _start(self, role: str) -> subprocess.Popen[bytes]:
        seed = str(self._rng.random())
        return subprocess.Popen([sys.executable, AGENTS, role, self._db_path, seed])

    def restart_the_dead(self) -> None:
        for number, (role, process) in enumerate(self._running):
            if process.poll() is not None:
                if process.returncode != -signal.SIGKILL:
                    raise SystemExit(f"the {role} has failed with exit code {process.returncode}")
                self.deaths += 1
                self._running[number] = role, self._start(role)

    def kill(self, *roles: str) -> None:
        """Kill the agents of these roles, or all."""
        leaving = [entry for entry in self._running if entry[0] in roles or not roles]
        self._running = [entry for entry in self._running if entry not in leaving]
        for _, process in leaving:
            process.kill()
            process.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("db", nargs="?", help="the bus file, which must not exist yet (default: in a new temp folder)")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the planner plans (default: %(default)g)")
    parser.add_argument("--seed", type=int, default=random.randrange(10_000), help="of the tasks (default: any)")
    parser.add_argument("--open", action="store_true", help="open the page in your browser")
    args = parser.parse_args()
    if args.db and os.path.exists(args.db):
        parser.error(f"{args.db} exists already: each run makes a bus of its own")
    db_path = args.db or os.path.join(tempfile.mkdtemp(prefix="raven-watch-a-swarm-"), "bus.db")

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))  # no process stays behind
    with BusClient.at(address("human"), db_path) as bus:
        bus.register(*(address(role) for role in sorted(set(CREW))))
    server = Server(db_path)
    print(f"page: {server.url}?token={server.token}")
    print(f"the swarm works for {args.seconds:g} s; Ctrl-C ends it", flush=True)
    if args.open:
        webbrowser.open(f"{server.url}?token={server.token}")
    watcher = Watcher(server.url, server.token)
    watcher.start()
    swarm = Swarm(db_path, args.seed)
    try:
        watch(swarm, server, args.seconds)
        with BusObserver(db_path) as bus:
            finish(bus, swarm)
            missing = compare(bus, watcher)
            print_summary(bus, swarm, watcher, missing)
    except KeyboardInterrupt:
        return 130
    finally:
        watcher.close()
        swarm.kill()
        server.kill()
    print(f"bus: {db_path}")
    return 1 if missing else 0


def watch(swarm: Swarm, server: Server, seconds: float) -> None:
    """Let the swarm work, and replace its server halfway."""
    began = time.monotonic()
    replaced = False
    while (passed := time.monotonic() - began) < seconds:
        swarm.restart_the_dead()
        if passed > seconds / 2 and not replaced:
            print(f"{passed:.0f} s: kill -9 for the server; the swarm goes on, and so does the page", flush=True)
            server.replace()
            replaced = True
        time.sleep(LOOK_EVERY_S)


def finish(bus: BusObserver, swarm: Swarm) -> None:
    """End the planner, and let the others do the rest of the work."""
    swarm.kill("planner")
    give_up_at = time.monotonic() + FINISH_WITHIN_S
    busy = {address(role) for role in CREW} - {address("planner")}
    while any(peer.pending for peer in bus.peers() if peer.address in busy) and time.monotonic() < give_up_at:
        swarm.restart_the_dead()
        time.sleep(LOOK_EVERY_S)


def compare(bus: BusObserver, watcher: Watcher) -> str:
    """Compare the stream with the bus, once it has shown all; returns the difference."""
    messages = list(bus.tail(follow=False))
    states = {(msg.id, receipt.recipient): receipt.state for msg in messages for receipt in bus.receipts(msg.id)}
    give_up_at = time.monotonic() + FINISH_WITHIN_S
    while watcher.states != states and time.monotonic() < give_up_at:
        time.sleep(LOOK_EVERY_S)
    if wrong := sorted(key for key in states if watcher.states.get(key) != states[key]):
        return f"the stream shows another state of {len(wrong)} deliveries, first of #{wrong[0][0]} to {wrong[0][1]}"
    again = [id for id, count in watcher.shown.items() if count > 1]
    return f"the stream showed #{again[0]} more than once" if again else ""


def print_summary(bus: BusObserver, swarm: Swarm, watcher: Watcher, missing: str) -> None:
    dead = bus.dead()
    print(f"{len(watcher.shown)} messages, {len(watcher.states)} deliveries, {len(dead)} of them dead letters")
    print(f"{swarm.deaths} deaths of agents, {watcher.connections} connections of the stream")
    print(missing or "the stream showed each message once, and the last state of each delivery")


if __name__ == "__main__":
    sys.exit(main())
