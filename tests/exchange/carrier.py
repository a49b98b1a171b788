"""Hosts with a bus and an exchange each, and a carrier that brings their frames by hand."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

import apsw
import pytest

from raven import BusClient, Receipt
from raven.exchange.exchange import Exchange
from raven.exchange.values import Batch, Incoming, TakenIn
from raven.host.bus import HostedBus


class Host:
    """One host: its bus file, its exchange, and clients of its addresses."""

    def __init__(self, folder: Path, name: str, **options: Any) -> None:
        self.name, self.options = name, options
        self.db = str(folder / f"{name}.db")
        self.exchange = Exchange(self.db, name, **options)
        self._clients: dict[str, HostedBus] = {}

    def at(self, address: str) -> HostedBus:
        """Return the client of an address."""
        if address not in self._clients:
            self._clients[address] = HostedBus.at(address, self.db)
        return self._clients[address]

    def restart(self, **options: Any) -> None:
        """Let the relay forget all but its file."""
        self.exchange.close()
        self.exchange = Exchange(self.db, self.name, **{**self.options, **options})

    def save(self) -> None:
        """Copy the file."""
        self.sql("VACUUM INTO ?", f"{self.db}.copy")

    def restore(self) -> None:
        """Put the copy back, as an administrator does who has stopped all programs."""
        self.close()
        for suffix in ("", "-wal", "-shm"):
            if os.path.exists(self.db + suffix):
                os.unlink(self.db + suffix)
        os.replace(f"{self.db}.copy", self.db)
        self._clients.clear()
        self.exchange = Exchange(self.db, self.name, **self.options)

    def sql(self, statement: str, *values: Any) -> list[Any]:
        """Run a statement as a plain SQLite client does."""
        connection = apsw.Connection(self.db)
        try:
            return connection.execute(statement, values).fetchall()
        finally:
            connection.close()

    def close(self) -> None:
        for client in self._clients.values():
            client.close()
        self.exchange.close()


class Carrier:
    """Brings frames from host to host, and each host's word on what it has committed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.hosts: dict[str, Host] = {}

    def add(self, name: str, **options: Any) -> Host:
        self.hosts[name] = Host(self._folder, name, **options)
        return self.hosts[name]

    def frames(self, sender: Host, receiver: Host, **options: Any) -> Batch:
        return sender.exchange.frames(receiver.name, 0, **options)

    def bring(self, sender: Host, receiver: Host, *batches: Batch, confirms: bool = True) -> TakenIn:
        """Bring envelopes, by default all that is not confirmed, and the receiver's word back."""
        envelopes = [envelope(batch) for batch in batches or [self.frames(sender, receiver)]]
        taken = receiver.exchange.take_in(sender.name, envelopes)
        if confirms:
            sender.exchange.confirmed(receiver.name, taken.confirmation)
        return taken

    def settle(self) -> None:
        """Bring all frames and all news, until no host has any."""
        for _ in range(20):
            busy = False
            for sender, receiver in permutations(self.hosts.values(), 2):
                sender.exchange.tell()
                batch = self.frames(sender, receiver)
                if batch.frames:
                    self.bring(sender, receiver, batch)
                busy |= bool(sender.exchange.flush() or batch.frames)
            if not busy:
                return
        raise AssertionError("the hosts never come to rest")

    def close(self) -> None:
        for host in self.hosts.values():
            host.close()


def envelope(batch: Batch) -> Incoming:
    return Incoming(batch.epoch, batch.tag_before, [json.loads(frame.text) for frame in batch.frames])


def states(host: Host, message_id: int, sender: str = "boss:s") -> list[tuple[str, str]]:
    """Return recipient and state of each delivery of a message."""
    return [(one.recipient, one.state) for one in host.at(sender).receipts(message_id)]


def receipt(host: Host, message_id: int, sender: str = "boss:s") -> Receipt:
    (one,) = host.at(sender).receipts(message_id)
    return one


def bodies(bus: BusClient) -> list[Any]:
    """Claim and ack all that is ready, and return the bodies."""
    done = []
    while messages := bus.claim(50):
        for message in messages:
            bus.ack(message.id)
            done.append(message.body)
    return done


@pytest.fixture
def carrier(tmp_path: Path) -> Iterator[Carrier]:
    carrier = Carrier(tmp_path)
    yield carrier
    carrier.close()


@pytest.fixture
def alpha(carrier: Carrier) -> Host:
    """Return the host on which most mail is sent."""
    return carrier.add("alpha")


@pytest.fixture
def beta(carrier: Carrier) -> Host:
    """Return the host at which most mail is handled."""
    return carrier.add("beta")
