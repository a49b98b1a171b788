"""Realm: hosts in a folder, each with a bus, a relay and clients, for the cases; counted by messages that arrive."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import apsw

from raven import BusClient, Message, Receipt
from scripts.harness.deadline import Deadline
from scripts.harness.linked import Linked
from scripts.stress.trial import Round

WITHIN_S = 30.0
_ROOT = Path(__file__).parents[3]
_POLL_S = 0.2
_MAX_WAIT_MS = 20_000


def command(module: str, *arguments: str) -> tuple[str, ...]:
    """Return a command of raven that a module of the trials runs; it takes the arguments of raven at its end."""
    program = f"import sys; sys.path[:0] = [{str(_ROOT)!r}, {str(_ROOT / 'rpc')!r}]; sys.argv[0] = {module!r}; "
    return (
        sys.executable,
        "-c",
        f"{program}import runpy; runpy.run_module({module!r}, run_name='__main__')",
        *arguments,
    )


class Realm:
    """The hosts of one case, all linked over one server; relays end with the `with` block of `stack`."""

    def __init__(self, round: Round, folder: Path, url: str, stack: ExitStack) -> None:
        self._round = round
        self._folder = folder
        self._stack = stack
        self.url = url
        self.relays: dict[str, Linked] = {}
        self._number = 0

    def db(self, host: str) -> str:
        """Return the path of the bus of a host."""
        (self._folder / host).mkdir(parents=True, exist_ok=True)
        return str(self._folder / host / "bus.db")

    def link(self, host: str, *, waits: bool = True, url: str | None = None, **options: Any) -> Linked:
        """Start the relay of a host."""
        relay = Linked(self.db(host), url or self.url, host, waits=waits, **options)
        self.relays[host] = self._stack.enter_context(relay)
        return relay

    def know(self, host: str, address: str, *others: str) -> None:
        """Use an address on a host, and wait until other hosts know that."""
        with BusClient.at(address, self.db(host)) as bus:
            bus.inbox(peek=True)
            bus.register()
        for other in others:
            with BusClient.at(f"trial:{other}", self.db(other)) as bus:
                self.until(
                    lambda bus=bus: any(one.address == address for one in bus.peers()), f"{other} knows {address}"
                )

    def send(self, host: str, to: str, count: int, **options: Any) -> list[tuple[int, int]]:
        """Send messages from a host; returns the number in the body and the id of each."""
        with BusClient.at(f"sender:{host}", self.db(host)) as bus:
            sent = []
            for _ in range(count):
                self._number += 1
                sent.append((self._number, bus.send(to, "job", {"number": self._number}, **options).id))
        self._round.count("messages of cases", count)
        return sent

    def take(
        self, host: str, address: str, sent: Sequence[tuple[int, int]], why: str, within_s: float = WITHIN_S
    ) -> None:
        """Receive and ack at an address; report messages that are lost, doubled or out of order."""
        expected = [number for number, _ in sent]
        taken: list[int] = []
        deadline = Deadline(within_s)
        with BusClient.at(address, self.db(host)) as bus:
            while not set(expected) <= set(taken) and deadline.left_s():
                taken += _numbers(bus, _POLL_S)
            taken += _numbers(bus, 2 * _POLL_S)
        if missing := [number for number in expected if number not in taken]:
            self._round.report("lost", f"{why}: {len(missing)} of {len(expected)} have not come: {missing[:5]}")
        if extra := [number for number in set(taken) if taken.count(number) > 1 or number not in expected]:
            self._round.report("duplicated", f"{why}: {sorted(extra)[:5]} have come once more")
        if (first := list(dict.fromkeys(taken))) != sorted(first):
            self._round.report("reordered", f"{why}: {first[:20]}")

    def finish(self, host: str, sent: Sequence[tuple[int, int]], why: str, state: str = "acked") -> None:
        """Report receipts of a host that do not become final, or are not those of this state."""
        with BusClient.at(f"sender:{host}", self.db(host)) as bus:
            for number, id in sent:
                receipt = self.until(lambda id=id: _final(bus, id), f"{why}: the receipt of {number} is final")
                if receipt is not None and receipt.state != state:
                    self._round.report("broken", f"{why}: the receipt of {number} is {receipt.state}, not {state}")

    def settle(self, why: str) -> None:
        """Report frames and news that a host has left."""
        for host in self.relays:
            for table in ("link_out", "link_news"):
                self.until(
                    lambda host=host, table=table: not self._rows(host, table), f"{why}: {table} of {host} is empty"
                )

    def copy(self, host: str) -> Path:
        """Copy the bus of a host as SQLite does, while it is in use, and return the copy."""
        path = Path(f"{self.db(host)}.copy")
        path.unlink(missing_ok=True)
        bus = apsw.Connection(self.db(host))
        bus.set_busy_timeout(_MAX_WAIT_MS)
        bus.execute("VACUUM INTO ?", (str(path),))
        bus.close()
        return path

    def restore(self, host: str, copy: Path) -> None:
        """Put an older copy in the place of the bus of a host, whose relay must not run."""
        for path in Path(self.db(host)).parent.glob("bus.db*"):
            if path.suffix in (".db-wal", ".db-shm"):
                path.unlink()
        copy.replace(self.db(host))
        self._round.count("older bus files restored")

    def until(self, condition: Any, what: str, within_s: float = WITHIN_S) -> Any:
        """Wait until a condition is true, and return its value; report it if it does not become so."""
        deadline = Deadline(within_s)
        while not (value := condition()):
            if not deadline.left_s():
                self._round.report("broken", f"not within {within_s:g} s: {what}")
                return None
            time.sleep(0.02)
        return value

    def _rows(self, host: str, table: str) -> int:
        bus = apsw.Connection(self.db(host))
        bus.set_busy_timeout(_MAX_WAIT_MS)
        number = int(bus.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
        bus.close()
        return number


def _numbers(bus: BusClient, timeout_s: float) -> list[int]:
    messages: list[Message] = []
    for message in bus.listen(ack="manual", timeout_s=timeout_s):
        bus.ack(message.id)
        messages.append(message)
    return [message.body["number"] for message in messages]


def _final(bus: BusClient, id: int) -> Receipt | None:
    [receipt] = bus.receipts(id)
    return receipt if receipt.state in ("acked", "expired", "dead") else None
