"""The roster: each address with its subscribers, and its mail by kind."""

from __future__ import annotations

from collections.abc import Callable

from raven.client import BusClient
from raven.host.bus import HostedBus
from raven.query.roster import Roster
from tests.support import Foreign

Connect = Callable[..., BusClient]


def counted(roster: Roster, *, changed: bool = True) -> dict[str, tuple[int, ...]]:
    """Return the numbers of each address: waiting, pending, ready, delayed, in flight and dead."""
    return {entry.address: entry[5:11] for entry in roster.read(changed=changed)}


def test_it_counts_the_mail_of_each_address_by_kind(
    hosted: Callable[..., HostedBus], connect: Connect, foreign: Foreign
) -> None:
    view = hosted("raven:view", register=False)
    boss, worker = connect("boss:s"), connect("worker:s")
    sent = boss.send("worker:s", "job")
    for delay_s in (None, None, 60):
        boss.send("worker:s", "job", max_attempts=1, delay_s=delay_s)
    worker.nack(worker.claim(2)[1].id)
    boss.send("late:s", "job")
    foreign.execute("INSERT INTO deliveries (id, recipient, urgency) VALUES (1 << 40, 'invalid', 1)")

    entries = {entry.address: entry for entry in view.roster().read()}

    assert {address: entry[5:11] for address, entry in entries.items()} == {
        "boss:s": (0, 0, 0, 0, 0, 0),
        "worker:s": (0, 3, 1, 1, 1, 1),
        "late:s": (0, 1, 1, 0, 0, 0),
        "invalid": (0, 1, 1, 0, 0, 0),
    }
    assert entries["late:s"].registered_at is None
    assert entries["worker:s"].oldest_at == boss.read(3).created_at != sent.created_at
    assert entries["worker:s"].as_dict()["oldest_at"].endswith("Z")
    assert counted(view.scoped(["late:s"]).roster()) == {
        "boss:s": (0,) * 6,
        "worker:s": (0,) * 6,
        "late:s": (0, 1, 1, 0, 0, 0),
    }


def test_subscribers_are_counted_also_while_no_program_writes(
    hosted: Callable[..., HostedBus], connect: Connect
) -> None:
    bus = hosted("worker:s")
    roster = bus.roster()
    assert counted(roster) == {"worker:s": (0,) * 6}

    listener = bus.pull_subscription().listener
    connect("boss:s").send("worker:s", "job")

    assert counted(roster, changed=False) == {"worker:s": (1, 0, 0, 0, 0, 0)}
    assert counted(roster)["worker:s"] == (1, 1, 1, 0, 0, 0)
    listener.close()
    assert counted(roster, changed=False)["worker:s"] == (0, 1, 1, 0, 0, 0)
