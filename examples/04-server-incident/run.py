"""Run an incident drill: a real server, three faults and a false alarm, and five agents that fix them."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from agents import ROLES, SESSION, address
from probes import PROBES, call
from server import ROOM
from supervisor import Supervisor

from raven import BusClient, BusObserver, Message

EXIT_WITHIN_S = 20.0
AGENTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "agents.py")


def ask_for_dead_links(shop: str) -> None:
    """Request a missing page five times, which is no fault of the shop."""
    for _ in range(5):
        call(shop, "GET", "/summer-sale")


def abandon_carts(shop: str) -> None:
    """Fill and abandon carts until they alone fill the store.

    A refusal (507) alone does not prove that: a shipped order frees its place.
    """
    carts, status = 0, 201
    while carts < ROOM and status in (201, 507):
        status, _ = call(shop, "POST", "/carts", {"item": "kettle"})
        carts += status == 201


def order_by_pigeon(shop: str) -> None:
    """Order with the courier that never confirms; the worker waits for it and ships no other order."""
    call(shop, "POST", "/orders", {"item": "lamp", "courier": "pigeon"})


def deploy_bad_config(shop: str) -> None:
    """Deploy a tax rate in the spelling of a human."""
    call(shop, "PUT", "/admin/config", {"key": "tax_rate", "value": "19%"})


@dataclass
class Fault:
    """A fault: the function that causes it, the probe that must notice it, and the last message of its conversation."""

    name: str
    inject: Callable[[str], None]
    probe: str
    ends_with: str = "verified"
    injected_at: datetime | None = None


def plan() -> list[list[Fault]]:
    """Return the faults of the drill in rounds; the faults of one round occur together."""
    return [
        [Fault("dead links", ask_for_dead_links, "dead-links", ends_with="noted")],
        [Fault("full store", abandon_carts, "orders")],
        [Fault("wedged worker", order_by_pigeon, "shipping"), Fault("bad config", deploy_bad_config, "price")],
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("db", nargs="?", help="the bus file, which must not exist yet (default: in a new temp folder)")
    parser.add_argument("--without", choices=ROLES, metavar="ROLE", help="leave one agent out, and see the drill fail")
    parser.add_argument("--deadline-s", type=float, default=60.0, help="when to give up (default: %(default)g)")
    args = parser.parse_args()
    if args.db and os.path.exists(args.db):
        parser.error(f"{args.db} exists already: each run makes a bus of its own")

    with tempfile.TemporaryDirectory() as shop_folder, Supervisor(shop_folder) as server:
        db_path = args.db or os.path.join(tempfile.mkdtemp(prefix="raven-server-incident-"), "bus.db")
        with BusClient.at(address("lead"), db_path) as lead:
            roles = [role for role in ROLES if role != args.without]
            lead.register(*map(address, roles))
            crew = [subprocess.Popen([sys.executable, AGENTS, role, db_path, server.address]) for role in roles]
            try:
                faults = drill(lead, server, set(roles), args.deadline_s)
                lead.send(f"*:{SESSION}", "stand-down", {"note": "thank you, that was all"}, urgency="fyi")
                orderly = stood_down(crew)
            finally:
                for process in crew:
                    process.kill()
                    process.wait()
        # The agents report success; check it with probes of our own.
        healthy = all(PROBES[fault.probe](server.address) is None for fault in faults if fault.ends_with == "verified")
    with BusObserver(db_path) as bus:
        print_transcript(bus)
        mended = print_summary(bus, faults)
    print(f"bus: {db_path}")
    return 0 if mended and healthy and orderly else 1


def drill(lead: BusClient, server: Supervisor, absent: set[str], deadline_s: float) -> list[Fault]:
    """Inject the faults, round by round, each after the end of the last; returns all faults.

    Meanwhile the lead restarts the server on the request of an agent.
    """
    faults: list[Fault] = []
    rounds = plan()
    for msg in lead.listen(timeout_s=deadline_s):
        absent.discard(msg.body.get("role"))
        if msg.type == "escalated":
            break
        if msg.type == "restart":
            restart(lead, server, msg)
        if absent or not is_quiet(lead, faults):
            continue
        if not rounds:
            return faults
        faults += rounds[0]
        for fault in rounds.pop(0):
            fault.injected_at = datetime.now(UTC)
            fault.inject(server.address)
    return faults + [fault for later in rounds for fault in later]


def restart(lead: BusClient, server: Supervisor, msg: Message) -> None:
    """Restart the server, unless the process that the agent saw (None: no process) has already ended."""
    old = server.pid
    if msg.body["pid"] in (old, None):
        server.restart()
    body = {"probe": msg.body["probe"], "note": f"process {old} ended, process {server.pid} runs"}
    lead.send(msg.sender, "restarted", body, urgency=msg.urgency, correlation_id=msg.correlation_id, reply_to=msg.id)


def stood_down(crew: list[subprocess.Popen[bytes]]) -> bool:
    """Wait for the agents to end; returns whether all ended in time with exit code 0."""
    try:
        return all(process.wait(EXIT_WITHIN_S) == 0 for process in crew)
    except subprocess.TimeoutExpired:
        return False


def is_quiet(bus: BusObserver, faults: list[Fault]) -> bool:
    """Return whether every fault was noticed and every alert, false ones included, is closed."""
    noticed = all(case_of(bus, fault) for fault in faults)
    return noticed and all("verified" in case or "noted" in case for case in cases(bus))


def cases(bus: BusObserver) -> list[dict[str, Message]]:
    """Return the conversations that started with an alert, each as its last message of each type."""
    alerts = [msg for msg in bus.tail(follow=False) if msg.type == "alert"]
    return [{msg.type: msg for msg in bus.history(alert.correlation_id)} for alert in alerts]


def case_of(bus: BusObserver, fault: Fault) -> dict[str, Message]:
    """Return the conversation about a fault; returns an empty dict if no agent noticed it."""
    for case in cases(bus):
        alert = case["alert"]
        if fault.injected_at and alert.created_at >= fault.injected_at and alert.body["probe"] == fault.probe:
            return case
    return {}


def print_transcript(bus: BusObserver) -> None:
    """Print the messages on the bus, each with its time, route and urgency."""
    messages = list(bus.tail(follow=False))
    for msg in messages:
        seconds = (msg.created_at - messages[0].created_at).total_seconds()
        sender, recipient = (text.replace(f":{SESSION}", "") for text in (msg.sender, msg.recipient))
        print(f"{seconds:5.2f} s  {sender + ' -> ' + recipient:27}  {msg.urgency:8}  {msg.type:10}  {msg.body['note']}")


def print_summary(bus: BusObserver, faults: list[Fault]) -> bool:
    """Print the outcome of each fault; returns whether all outcomes are good."""
    print(f"\n{'fault':14}  {'detected after':>14}  {'fixed after':>11}  outcome")
    mended = True
    for fault in faults:
        case = case_of(bus, fault)
        ended = fault.ends_with in case
        mended = mended and ended
        detected, fixed = after(fault, case.get("alert")), after(fault, case.get("fixed"))
        outcome = fault.ends_with if ended else f"NOT {fault.ends_with}"
        print(f"{fault.name:14}  {detected:>14}  {fixed:>11}  {outcome}")
    return mended


def after(fault: Fault, msg: Message | None) -> str:
    if msg is None or fault.injected_at is None:
        return "-"
    return f"{(msg.created_at - fault.injected_at).total_seconds():.2f} s"


if __name__ == "__main__":
    sys.exit(main())
