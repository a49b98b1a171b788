"""The five agents on call; `agents.py ROLE BUS SHOP` runs one agent in a process of its own.

monitor -> triage -> diagnostician -> fixer -> verifier, and back to the diagnostician if the fix did not help. The
agents are not told the faults: they only see the pages of the shop. One incident is one conversation, with one
correlation_id.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, Literal, NoReturn

from probes import NO_ANSWER, PROBES, SHIPPED_WITHIN_S, Finding, call

from raven import BusClient, Message

SESSION = "incident"
WATCH_S = 120.0
PROBE_EVERY_S = 0.1
CHECKS = 3
ATTEMPTS = 3
Urgency = Literal["blocking", "prompt", "fyi"]
Diagnosis = tuple[str, dict[str, Any]]


def address(role: str) -> str:
    return f"{role}:{SESSION}"


def mail(bus: BusClient) -> Iterator[Message]:
    """Yield the messages of an agent until `stand-down`, or until the end of its watch."""
    for msg in bus.listen(timeout_s=WATCH_S):
        if msg.type == "stand-down":
            return
        yield msg
    go_off_watch(bus)


def go_off_watch(bus: BusClient) -> NoReturn:
    sys.exit(f"{bus.address}: nobody said to stand down within {WATCH_S:g} s")


def pass_on(
    bus: BusClient,
    msg: Message,
    to: str | list[str],
    type: str,
    note: str,
    *,
    urgency: Urgency | None = None,
    **body: Any,
) -> None:
    """Send the next message of an incident, about the same probe and with the same urgency unless it is given."""
    bus.send(
        to,
        type,
        {"probe": msg.body["probe"], "note": note, **body},
        urgency=urgency or msg.urgency,
        correlation_id=msg.correlation_id,
        reply_to=msg.id,
    )


def monitor(bus: BusClient, shop: str) -> None:
    """Probe the shop in a loop and send one alert for each new symptom."""
    symptoms: set[str] = set()
    numbers = count(1)
    end = time.monotonic() + WATCH_S
    while time.monotonic() < end:
        for name, probe in PROBES.items():
            finding = None if name in symptoms else probe(shop)
            if finding and finding.probe not in symptoms:
                symptoms.add(finding.probe)
                case = f"{finding.probe}-{next(numbers)}"
                bus.send(address("triage"), "alert", finding._asdict(), correlation_id=case)
        for msg in bus.listen(timeout_s=PROBE_EVERY_S):
            if msg.type == "stand-down":
                return
            symptoms.discard(msg.body["probe"])
    go_off_watch(bus)


def triage(bus: BusClient, shop: str) -> None:
    """Set the urgency of an alert: `blocking` for an outage, `prompt` for bad service, `fyi` otherwise."""
    for msg in mail(bus):
        status = msg.body["status"]
        if 400 <= status < 500:
            pass_on(bus, msg, address("lead"), "noted", "the clients' own mistake, nothing to mend", urgency="fyi")
            continue
        outage = status == NO_ANSWER or status >= 500
        note = "outage: customers are turned away" if outage else "degraded: customers have to wait"
        urgency: Urgency = "blocking" if outage else "prompt"
        pass_on(bus, msg, address("diagnostician"), "incident", note, urgency=urgency)


def diagnostician(bus: BusClient, shop: str) -> None:
    """Find the cause on the status pages of the shop, and write the steps of a fix."""
    for msg in mail(bus):
        cause, remedy = diagnose(msg.body["probe"], shop)
        pass_on(bus, msg, address("fixer"), "diagnosis", cause, **remedy)


def diagnose(probe: str, shop: str) -> Diagnosis:
    """Return the cause in words, and the steps: requests, and a restart if `restart` names a process."""
    answers = [call(shop, "GET", page) for page in ("/status", "/log")]
    if any(code != 200 for code, _ in answers):
        return "the server says nothing of itself", {"steps": [], "restart": None}
    (_, status), (_, log) = answers
    find = CAUSES.get(probe)
    return (find and find(status, log)) or ("no cause to be found", {"steps": []})


def bad_config(status: Any, log: list[str]) -> Diagnosis | None:
    """Look in the log for an unreadable value, and in the config for its key."""
    complaints = [found for line in log if (found := re.search(r"could not convert string to float: '(.*)'", line))]
    for key, values in status["config"].items():
        if complaints and values[-1] == complaints[-1][1]:
            step = ["PUT", "/admin/config", {"key": key, "value": values[-2]}]
            return f"{key} is set to {values[-1]!r}; it was {values[-2]!r}", {"steps": [step]}
    return None


def full_store(status: Any, log: list[str]) -> Diagnosis | None:
    """Find the entries that fill the store: carts may be deleted, orders may not."""
    carts = status["orders"].get("cart", 0)
    if carts <= status["room"] / 2:
        return None
    step = ["POST", "/admin/purge", {"state": "cart"}]
    return f"abandoned carts take up {carts} of {status['room']} places", {"steps": [step]}


def stuck_worker(status: Any, log: list[str]) -> Diagnosis | None:
    """Check how long the worker has been working on one order; a stuck thread ends only with its process."""
    order, busy_s = status["worker"].values()
    if busy_s < SHIPPED_WITHIN_S / 2:
        return None
    step = ["POST", "/admin/quarantine", {"order": order}]
    return f"the worker has been stuck in order {order} for {busy_s:.1f} s", {"steps": [step], "restart": status["pid"]}


CAUSES: dict[str, Callable[[Any, list[str]], Diagnosis | None]] = {
    "price": bad_config,
    "orders": full_store,
    "shipping": stuck_worker,
}


def fixer(bus: BusClient, shop: str) -> None:
    """Take the steps of a diagnosis; for a restart send the lead a request, and continue after its reply."""
    for msg in mail(bus):
        if msg.type == "restarted":
            pass_on(bus, msg, address("verifier"), "fixed", msg.body["note"])
            continue
        taken = []
        for method, path, body in msg.body["steps"]:
            status, _ = call(shop, method, path, body)
            taken.append(f"{method} {path} {body}: {status}")
        note = "; ".join(taken) or "nothing to be done"
        if "restart" in msg.body:
            pass_on(bus, msg, address("lead"), "restart", f"{note}; now restart", pid=msg.body["restart"])
        else:
            pass_on(bus, msg, address("verifier"), "fixed", note)


def verifier(bus: BusClient, shop: str) -> None:
    """Repeat the probe that failed, and return the incident to the diagnostician if it fails again."""
    attempts: Counter[str | None] = Counter()
    for msg in mail(bus):
        finding = first_finding(msg.body["probe"], shop)
        attempts[msg.correlation_id] += 1
        if finding is None:
            pass_on(
                bus, msg, [address("lead"), address("monitor")], "verified", f"{CHECKS} probes of {CHECKS} are good"
            )
        elif attempts[msg.correlation_id] < ATTEMPTS:
            pass_on(bus, msg, address("diagnostician"), "incident", f"not mended: {finding.note}")
        else:
            pass_on(
                bus,
                msg,
                address("lead"),
                "escalated",
                f"{ATTEMPTS} attempts in vain: {finding.note}",
                urgency="blocking",
            )


def first_finding(probe: str, shop: str) -> Finding | None:
    for _ in range(CHECKS):
        finding = PROBES[probe](shop)
        if finding:
            return finding
    return None


ROLES: dict[str, Callable[[BusClient, str], None]] = {
    "monitor": monitor,
    "triage": triage,
    "diagnostician": diagnostician,
    "fixer": fixer,
    "verifier": verifier,
}


def main() -> None:
    role, db_path, shop = sys.argv[1:]
    with BusClient.at(address(role), db_path) as bus:
        body = {"role": role, "pid": os.getpid(), "note": f"process {os.getpid()}"}
        bus.send(address("lead"), "on-duty", body, urgency="fyi")
        ROLES[role](bus, shop)


if __name__ == "__main__":
    main()
