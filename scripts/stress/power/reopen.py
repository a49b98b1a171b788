"""Reopen: opens the files of a power cut with raven and with another SQLite, and reads their state."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from raven import RavenError
from raven.host.bus import HostedBus
from scripts.harness.program import Program
from scripts.stress.power.disk_model import Image
from scripts.stress.power.recorder import NoSyncVFS
from scripts.stress.power.recording import DB

_READY = "SELECT count(*) FROM deliveries WHERE recipient = 'worker:s' AND state < 2 AND ready_at = 0"


class State(NamedTuple):
    """A digest of all rows, the facts among them, and a description of the first error, or an empty text."""

    digest: str
    facts: frozenset[str]
    error: str


class Reopener:
    """Writes images to a folder and opens them there; each image only once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._states: dict[bytes, State] = {}
        # Two copies of SQLite in one process would drop each other's locks, so that the other one has its own process.
        self._external = Program("stress.power.dump", greets=True)

    def __enter__(self) -> Self:
        self._external.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._external.__exit__(kind, error, trace)

    @property
    def opened(self) -> int:
        """The number of opened images."""
        return len(self._states)

    def digest(self, image: Image) -> str:
        """Return the digest of an image, as another SQLite reads it."""
        return str(self._dump(image)["digest"])

    def open(self, image: Image) -> State:
        """Open an image with both, each on a fresh copy of the files."""
        name = hashlib.sha256()
        for file in sorted(image):
            name.update(f"{file}:{len(image[file])}:".encode() + image[file])
        key = name.digest()
        if key not in self._states:
            self._states[key] = self._open(image)
        return self._states[key]

    def _open(self, image: Image) -> State:
        before = self._dump(image)
        digest, facts = before["digest"], frozenset(before["facts"])
        if before["integrity"] != "ok":
            return State(digest, facts, f"another SQLite says {before['integrity']}")
        folder = self._write(image)
        try:
            with NoSyncVFS():
                error = _use(str(folder / DB))
            after = self._dump_folder(folder)
        finally:
            shutil.rmtree(folder)
        if error:
            return State(digest, facts, error)
        if after["integrity"] != "ok":
            error = f"after raven used the file, another SQLite says {after['integrity']}"
        elif not facts <= frozenset(after["facts"]):
            error = "facts were lost after raven used the file"
        elif after["auto_vacuum"] != 2:
            error = "the file that raven has created has no incremental auto_vacuum"
        return State(digest, facts, error)

    def _dump(self, image: Image) -> dict[str, Any]:
        folder = self._write(image)
        try:
            return self._dump_folder(folder)
        finally:
            shutil.rmtree(folder)

    def _dump_folder(self, folder: Path) -> dict[str, Any]:
        self._external.tell(str(folder / DB))
        answer: dict[str, Any] = json.loads(self._external.line())
        return answer

    def _write(self, image: Image) -> Path:
        folder = self._folder / "image"
        folder.mkdir()
        for file, content in image.items():
            (folder / file).write_bytes(content)
        return folder


def _use(db: str) -> str:
    """Open a bus, send, claim and ack; returns a description of the first error, or an empty text."""
    try:
        with HostedBus.at("survivor:s", db) as bus:
            sent = bus.send(bus.address, "probe", "after the power came back")
            claimed = [message.id for message in bus.claim(2)]
            if claimed != [sent.id]:
                return f"#{sent.id} was sent, and {claimed} claimed"
            bus.ack(sent.id)
            ((ready,),) = bus.execute(_READY)
            # On a slow machine more messages are ready by now: their delays, or their leases, have ended.
            if len(bus.for_address("worker:s").claim(1000)) < ready:
                return "not all ready messages can be claimed"
    except RavenError as error:
        return f"raven raises {type(error).__name__}: {error}"
    return ""
