"""Injection names: addresses that are alike, or dangerous, as the file names that their doorbells have."""

from __future__ import annotations

import threading
import time
import unicodedata
from contextlib import ExitStack, closing
from pathlib import Path

from raven import BusClient
from scripts.stress.injection.texts import addresses
from scripts.stress.trial import Round

_SLEEPERS = 8
_NEVER_POLLS_S = 60.0
_DEADLINE_S = 30.0
# What most file systems take for a name, in bytes.
_NAME_MAX = 255


def run(round: Round, bus: BusClient) -> None:
    """Hang a doorbell at every address; none may share a folder, leave the bells' one, or hear another's ring."""
    names = addresses()
    bells = Path(f"{bus.db_path}-bells")
    around = {path.name for path in round.folder.iterdir()} | {bells.name}
    with ExitStack() as stack:
        hung = {}
        for address in names:
            hung[address] = stack.enter_context(closing(bus._doorbells.create(address)))
        folders = [path.name for path in bells.iterdir() if path.is_dir()]
        round.expect(len(folders) == len(names), f"{len(names)} addresses have {len(folders)} folders")
        alike = {unicodedata.normalize("NFKD", name).casefold() for name in folders}
        round.expect(len(alike) == len(names), "two addresses have folders that some file systems take for one")
        round.expect(max(len(name.encode()) for name in folders) <= _NAME_MAX, "a folder's name is too long")
        for path in (path for path in bells.rglob("*") if path.is_fifo()):
            round.expect(path.parent.parent == bells, f"a doorbell hangs at {path}")
        for address in round.random.sample(names, len(names)):
            bus._doorbells.ring([address])
            woken = [other for other, bell in hung.items() if bell.wait(0)]
            round.expect(woken == [address], f"to ring at {address!a} woke {woken!a}")
            round.count("doorbell rings")
    round.expect({path.name for path in round.folder.iterdir()} == around, "a doorbell hangs outside of its folder")
    _send_to_all(round, bus, names)
    _wake(round, bus, round.random.sample(names, _SLEEPERS))


def _send_to_all(round: Round, bus: BusClient, names: list[str]) -> None:
    """See that each address has its own mail, and that patterns match whole roles and sessions, not likenesses."""
    bus.register(*names)
    for address in names:
        sent = bus.send(address, "note", address)
        round.expect(bus.recipients(sent.id) == [address], f"what was sent to {address!a} went elsewhere")
    registered = {peer.address for peer in bus.peers() if peer.registered_at is not None}
    for role, session in (address.split(":") for address in round.random.sample(names, 12)):
        for pattern, wanted in (
            (f"{role}:*", {one for one in registered if one.split(":")[0] == role}),
            (f"*:{session}", {one for one in registered if one.split(":")[1] == session}),
        ):
            got = set(bus.recipients(bus.send(pattern, "note").id))
            round.expect(got == wanted - {bus.address}, f"{pattern!a} reached {got ^ wanted!a:.300} besides or not")
            round.count("address patterns")


def _wake(round: Round, bus: BusClient, names: list[str]) -> None:
    """See that a subscriber at each of some addresses is woken without looking by itself."""
    heard: dict[str, float] = {}

    def sleep(address: str) -> None:
        with closing(BusClient.at(address, bus.db_path)) as own:
            for message in own.inbox():
                own.ack(message.id)
            for message in own.listen(poll_interval_s=_NEVER_POLLS_S, timeout_s=_DEADLINE_S):
                heard[address] = time.monotonic()
                round.expect(message.body == f"wake {address}", f"{address!a} heard {message.body!a}")
                return

    threads = [threading.Thread(target=sleep, args=(address,)) for address in names]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + _DEADLINE_S
    while any(bus._doorbells.count_waiting(address) == 0 for address in names) and time.monotonic() < deadline:
        time.sleep(0.01)
    for address in names:
        bus.send(address, "note", f"wake {address}")
    for thread in threads:
        thread.join(2 * _DEADLINE_S)
    round.expect(set(heard) == set(names), f"nobody was woken at {set(names) - set(heard)!a}")
    round.count("wake-ups", len(heard))
