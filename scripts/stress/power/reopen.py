"""Opening: the files that a power cut has left, opened by raven and by another SQLite, and what is found in them."""

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
from scripts.stress.power.recorder import Hasty
from scripts.stress.power.recording import DB

_READY = "SELECT count(*) FROM deliveries WHERE recipient = 'worker:s' AND state < 2 AND ready_at = 0"


class Found(NamedTuple):
    """All the rows as a digest, the facts of the ledger among them, and what is wrong, in words."""

    digest: str
    facts: frozenset[str]
    wrong: str


class Opener:
    """Lays images into folders of their own and opens them there; the same image only once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._found: dict[bytes, Found] = {}
        # Two copies of SQLite in one process would drop each other's locks: the other one has a process of its own.
        self._foreign = Program("stress.power.dump", greets=True)

    def __enter__(self) -> Self:
        self._foreign.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._foreign.__exit__(kind, error, trace)

    @property
    def opened(self) -> int:
        """How many images were opened."""
        return len(self._found)

    def digest(self, image: Image) -> str:
        """Return the digest of an image, as another SQLite reads it."""
        return str(self._ask(image)["digest"])

    def open(self, image: Image) -> Found:
        """Open an image by both, each the files as they were left."""
        name = hashlib.sha256()
        for file in sorted(image):
            name.update(f"{file}:{len(image[file])}:".encode() + image[file])
        key = name.digest()
        if key not in self._found:
            self._found[key] = self._open(image)
        return self._found[key]

    def _open(self, image: Image) -> Found:
        before = self._ask(image)
        digest, facts = before["digest"], frozenset(before["facts"])
        if before["integrity"] != "ok":
            return Found(digest, facts, f"another SQLite says {before['integrity']}")
        folder = self._lay(image)
        try:
            with Hasty():
                wrong = _use(str(folder / DB))
            after = self._question(folder)
        finally:
            shutil.rmtree(folder)
        if wrong:
            return Found(digest, facts, wrong)
        if after["integrity"] != "ok":
            wrong = f"after raven was at work another SQLite says {after['integrity']}"
        elif not facts <= frozenset(after["facts"]):
            wrong = "what was there is gone after raven was at work"
        elif after["auto_vacuum"] != 2:
            wrong = "the file that raven has made cannot be shortened"
        return Found(digest, facts, wrong)

    def _ask(self, image: Image) -> dict[str, Any]:
        folder = self._lay(image)
        try:
            return self._question(folder)
        finally:
            shutil.rmtree(folder)

    def _question(self, folder: Path) -> dict[str, Any]:
        self._foreign.tell(str(folder / DB))
        answer: dict[str, Any] = json.loads(self._foreign.line())
        return answer

    def _lay(self, image: Image) -> Path:
        folder = self._folder / "image"
        folder.mkdir()
        for file, content in image.items():
            (folder / file).write_bytes(content)
        return folder


def _use(db: str) -> str:
    """Open a bus, send, claim and ack; returns what went wrong, in words."""
    try:
        with HostedBus.at("survivor:s", db) as bus:
            sent = bus.send(bus.address, "probe", "after the power came back")
            claimed = [message.id for message in bus.claim(2)]
            if claimed != [sent.id]:
                return f"#{sent.id} was sent, and {claimed} claimed"
            bus.ack(sent.id)
            ((ready,),) = bus.execute(_READY)
            if len(bus.for_address("worker:s").claim(1000)) != ready:
                return "what waits is not to be claimed"
    except RavenError as error:
        return f"raven says {type(error).__name__}: {error}"
    return ""
