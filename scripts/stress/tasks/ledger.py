"""Ledger: the sends and receptions that a process was told of, and the transactions that it has open."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import Any
from weakref import ref

from raven import BusClient, BusTransaction


class Block:
    """A transaction of one thread and task, and what it has done so far, which its end makes true or undoes."""

    def __init__(self, bus: BusClient, tx: BusTransaction) -> None:
        self.bus = bus
        self.tx = tx
        self.is_entered = False
        self.thread = threading.get_ident()
        # Only weak, so that a dropped task is destroyed.
        self.task = None if (task := current_task()) is None else ref(task)
        self.sent: dict[str, int] = {}  # by token, the id
        self.finished: list[tuple[str, int]] = []

    @property
    def is_alive(self) -> bool:
        """Whether its task, if it has one, can still end it."""
        if self.task is None:
            return True
        task = self.task()
        return task is not None and not task.done() and not task.get_loop().is_closed()

    def is_of_caller(self) -> bool:
        """Whether the calling thread and task have begun it."""
        task = None if self.task is None else self.task()
        return self.is_alive and self.thread == threading.get_ident() and task is current_task()


class Ledger:
    """Collects the results of all threads and tasks of a process.

    `sent` has the id of each message by its token: 0 if the send was undone, None if its result is not known.
    `finished` has the address and id of each message that a loop with automatic acks yielded, or an ack finished.
    """

    def __init__(self) -> None:
        self.sent: dict[str, int | None] = {}
        self.received: list[int] = []
        self.finished: list[tuple[str, int]] = []
        self.blocks: list[Block] = []

    def settle(self, block: Block, outer: Block | None, *, is_kept: bool) -> None:
        """Record the end of a block: its results count, or count for the block around it, or are undone."""
        if not is_kept:
            self.sent |= dict.fromkeys(block.sent, 0)
        elif outer is not None:
            outer.sent |= block.sent
            outer.finished += block.finished
        else:
            self.sent |= block.sent
            self.finished += block.finished

    def must_refuse(self, bus: BusClient) -> bool:
        """Whether a write of the caller must raise InputError: another task of its thread has a transaction open."""
        return any(block.bus is bus for block in self._of_other_tasks())

    def would_stall(self, bus: BusClient) -> bool:
        """Whether a write would block the thread that must end a transaction of another client."""
        return any(block.bus is not bus for block in self._of_other_tasks())

    def dump(self, path: Path) -> None:
        """Write the results to a file."""
        path.write_text(
            json.dumps({"sent": self.sent, "received": self.received, "finished": self.finished}), encoding="utf-8"
        )

    def _of_other_tasks(self) -> list[Block]:
        ident = threading.get_ident()
        return [
            block
            for block in [*self.blocks]
            if block.thread == ident and block.is_alive and block.is_entered and not block.is_of_caller()
        ]


def current_task() -> asyncio.Task[Any] | None:
    """Return the running task, or None."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None
