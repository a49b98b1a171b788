"""Doorbell names: addresses that are similar or dangerous as the names of their doorbell folders."""

from __future__ import annotations

import threading
import time
import unicodedata
from contextlib import ExitStack, closing
from pathlib import Path

from raven import BusClient
from scripts.stress.injection.texts import addresses
from scripts.stress.trial import Round

_SUBSCRIBERS = 8
_NEVER_POLLS_S = 60.0
_DEADLINE_S = 30.0
# The longest name on most file systems, in bytes.
_NAME_MAX = 255


def run(round: Round, bus: BusClient) -> None:
    """Create a doorbell at every address; no two may share a folder, leave the doorbells folder, or wake each other."""
    names = addresses()
    doorbells = Path(f"{bus.db_path}-bells")
    files_before = {path.name for path in round.folder.iterdir()} | {doorbells.name}
    with ExitStack() as stack:
        created = {}
        for address in names:
            created[address] = stack.enter_context(closing(bus._doorbells.create(address)))
        folders = [path.name for path in doorbells.iterdir() if path.is_dir()]
        round.expect(len(folders) == len(names), f"{len(names)} addresses have {len(folders)} folders")
        alike = {unicodedata.normalize("NFKD", name).casefold() for name in folders}
        round.expect(len(alike) == len(names), "two addresses have folders that are one name on some file systems")
        round.expect(max(len(name.encode()) for name in folders) <= _NAME_MAX, "a folder's name is too long")
        for path in (path for path in doorbells.rglob("*") if path.is_fifo()):
            round.expect(path.parent.parent == doorbells, f"a doorbell was created at {path}")
        for address in round.random.sample(names, len(names)):
            bus._doorbells.ring([address])
            woken = [other for other, doorbell in created.items() if doorbell.wait(0)]
            round.expect(woken == [address], f"a ring at {address!a} woke {woken!a}")
            round.count("doorbell rings")
    round.expect(
        {path.name for path in round.folder.iterdir()} == files_before,
        "a doorbell was created outside of the doorbells folder",
    )
    _send_to_all(round, bus, names)
    _wake(round, bus, round.random.sample(names, _SUBSCRIBERS))


def _send_to_all(round: Round, bus: BusClient, names: list[str]) -> None:
    """Check that each address gets only its own messages, and that patterns match only whole roles and sessions."""
    bus.register(*names)
    for address in names:
        sent = bus.send(address, "note", address)
        round.expect(bus.recipients(sent.id) == [address], f"a message to {address!a} went to other addresses")
    registered = {peer.address for peer in bus.peers() if peer.registered_at is not None}
    for role, session in (address.split(":") for address in round.random.sample(names, 12)):
        for pattern, expected in (
            (f"{role}:*", {one for one in registered if one.split(":")[0] == role}),
            (f"*:{session}", {one for one in registered if one.split(":")[1] == session}),
        ):
            actual = set(bus.recipients(bus.send(pattern, "note").id))
            round.expect(
                actual == expected - {bus.address}, f"{pattern!a} reached other addresses: {actual ^ expected!a:.300}"
            )
            round.count("address patterns")


def _wake(round: Round, bus: BusClient, names: list[str]) -> None:
    """Check that a doorbell wakes a subscriber at each of some addresses, before its next poll."""
    woken_at: dict[str, float] = {}

    def wait_for_wake_up(address: str) -> None:
        with closing(BusClient.at(address, bus.db_path)) as own:
            for message in own.inbox():
                own.ack(message.id)
            for message in own.listen(poll_interval_s=_NEVER_POLLS_S, timeout_s=_DEADLINE_S):
                woken_at[address] = time.monotonic()
                round.expect(message.body == f"wake {address}", f"{address!a} received {message.body!a}")
                return

    threads = [threading.Thread(target=wait_for_wake_up, args=(address,)) for address in names]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + _DEADLINE_S
    while any(bus._doorbells.count_waiting(address) == 0 for address in names) and time.monotonic() < deadline:
        time.sleep(0.01)
    for address in names:
        bus.send(address, "note", f"wake {address}")
    for thread in threads:
        thread.join(2 * _DEADLINE_S)
    round.expect(set(woken_at) == set(names), f"no subscriber was woken at {set(names) - set(woken_at)!a}")
    round.count("wake-ups", len(woken_at))
