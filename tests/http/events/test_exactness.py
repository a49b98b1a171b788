"""Each message and each change comes once, to every viewer, whenever it comes and however often the server dies."""

from __future__ import annotations

import random
import socket
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from functools import partial
from typing import Any

import pytest

from raven.client import BusClient
from scripts.harness.deadline import DEADLINE_S, wait_until
from tests.event_stream import EventStream
from tests.http.events.conftest import ServedBridge
from tests.support import Program

MAIL = "?kinds=message,receipt"
_DEATHS = 3


class Follower(threading.Thread):
    """A viewer that connects again, as a browser does, whenever its stream ends; it collects the ids of all events."""

    def __init__(self, port: int, query: str, pause_s: float = 0.0) -> None:
        super().__init__(daemon=True)
        self.query = query
        self.messages: list[int] = []
        self.changes: list[int] = []
        self.others: list[Any] = []
        self.connections = 0
        self._port = port
        self._pause_s = pause_s
        self._id: str | None = None
        self._stream: EventStream | None = None
        self._is_over = False
        self.start()

    def run(self) -> None:
        while not self._is_over:
            try:
                resume = [f"Last-Event-ID: {self._id}"] if self._id else []
                with EventStream(self._port, self.query, *resume) as self._stream:
                    self.connections += 1
                    if self._id is None and "from=" not in self.query:
                        self._id = self._stream.wait_for_id()
                    self._follow(self._stream)
            except (OSError, EOFError, AssertionError):  # silent for long: it may be over
                time.sleep(0.01)

    def _follow(self, stream: EventStream) -> None:
        for event in stream:
            self._id = event.id
            message, _, change = str(event.id).partition("-")[0].partition(".")
            if event.name == "message":
                self.messages.append(event.data["id"])
                assert event.data["id"] == int(message)
            elif event.name == "receipt":
                self.changes.append(int(change))
            else:
                self.others.append(event)
            time.sleep(self._pause_s)

    @property
    def is_placed(self) -> bool:
        return self._id is not None

    def has(self, change: int) -> bool:
        """Return whether it has a change, or a later one."""
        return bool(self.changes) and self.changes[-1] >= change

    def end(self) -> None:
        self._is_over = True
        with suppress(OSError, AttributeError):
            self._stream.socket.shutdown(socket.SHUT_RDWR)


def rows(db: str, sql: str, *params: Any) -> list[int]:
    with closing(sqlite3.connect(db)) as connection:
        return [row[0] for row in connection.execute(sql, params)]


OF_TYPE = " JOIN messages AS m ON m.id = {} WHERE m.type = 'odd'"
TO_T1 = (
    " JOIN messages AS m ON m.id = {} WHERE (m.sender = 't1:s1' OR EXISTS"
    " (SELECT 1 FROM deliveries AS d WHERE d.message_id = m.id AND d.recipient = 't1:s1'))"
)


@pytest.mark.process
@pytest.mark.slow
def test_viewers_get_everything_once_although_the_server_dies_again_and_again(
    served: ServedBridge, db: str, spawn: Callable[..., Program]
) -> None:
    BusClient.at("t0:s0", db).close()
    port = served.port
    wanted = {MAIL: " WHERE 1", f"{MAIL}&type=odd": OF_TYPE, f"{MAIL}&address=t1:s1&preview=9": TO_T1}
    from_now = {Follower(port, query, pause_s): sql for query, sql in wanted.items() for pause_s in (0, 0.001)}
    wait_until(lambda: all(one.is_placed for one in from_now), "the viewers to be placed")
    programs = [spawn("event_traffic", db, number) for number in range(3)]
    joiners: list[Follower] = []
    rng = random.Random(1)
    with ExitStack() as stack:
        stack.callback(lambda: [one.end() for one in (*from_now, *joiners)])
        for _ in range(_DEATHS):
            newest = max(rows(db, "SELECT max(id) FROM messages")[0] or 1, 1)
            joiners += [Follower(port, f"{MAIL}&from={rng.randint(1, newest)}") for _ in range(2)]
            time.sleep(rng.uniform(0.2, 0.6))
            served.kill()
            served.start()
        wait_until(lambda: all(one.changes for one in joiners), "changes for all", 3 * DEADLINE_S)
        for program in programs:
            program.tell()
        wait_until(lambda: all(program.has_ended for program in programs), "the traffic to end")
        [message] = rows(db, "SELECT max(id) FROM messages")
        [change] = rows(db, "SELECT max(id) FROM delivery_changes")
        for viewer, sql in from_now.items():
            messages = rows(db, f"SELECT l.id FROM messages AS l{sql.format('l.id')} ORDER BY 1")
            log = f"SELECT l.id FROM delivery_changes AS l{sql.format('l.delivery_id >> 20')} AND l.id <= ? ORDER BY 1"
            changes = rows(db, log, change)
            wait_until(partial(viewer.has, changes[-1]), f"the end of {viewer.query}", 3 * DEADLINE_S)
            assert viewer.others == [], "a reset, for instance"
            assert viewer.messages == messages, viewer.query
            assert viewer.changes[: len(changes)] == changes, viewer.query
        for viewer in joiners:
            wait_until(partial(viewer.has, change), "the end", 3 * DEADLINE_S)
            first = int(viewer.query.rpartition("=")[2])
            assert viewer.messages == list(range(first, message + 1)), viewer.query
            assert viewer.changes == list(range(viewer.changes[0], viewer.changes[-1] + 1)), viewer.query
        connections = [one.connections for one in from_now]
        assert min(connections) > 1, "a slow viewer may notice two deaths as one"
        assert max(connections) > _DEATHS
        assert message > 100
