"""A server in a thread of the tests' own process."""

from __future__ import annotations

import argparse
import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from raven_rpc import Server
from scripts.harness.deadline import DEADLINE_S
from scripts.harness.line import Line


class ServedHere:
    """A server in a thread of this process, listening when this is made: cheap, and neither signalled nor killed.

    It has the face of `Served` but for its process: a test that needs one has the marker `process`.
    """

    def __init__(self, db: str, socket_path: str | None = None, *options: str, **settings: Any) -> None:
        self.db = db
        self.path = socket_path or f"{db}.sock"
        self.server = _server(db, self.path, options, settings)
        self._listens = threading.Event()
        self._error: Exception | None = None
        self._log = logging.FileHandler(f"{self.path}.log", encoding="utf-8")
        logging.getLogger().addHandler(self._log)
        self._thread = threading.Thread(target=self._run, name="served", daemon=True)
        self._thread.start()
        assert self._listens.wait(DEADLINE_S), "it does not listen"
        if self._error is not None:
            self.close()
            raise self._error

    def connect(self) -> Line:
        return Line(self.path)

    def ask(self, method: str, params: Any = None) -> Any:
        """Call a method over a connection of its own."""
        with self.connect() as line:
            return line.ask(method, params)

    def do(self, action: Callable[[], Any]) -> Any:
        """Call a function on the server's event loop, and return its result."""

        async def act() -> Any:
            return action()

        return asyncio.run_coroutine_threadsafe(act(), self.server.loop).result(DEADLINE_S)

    def log(self) -> str:
        """Return all that this process has logged meanwhile."""
        return Path(self._log.baseFilename).read_text(encoding="utf-8")

    def stop(self) -> int:
        """Stop it and return the exit code that its process would have."""
        if self._thread.is_alive():
            with suppress(RuntimeError):  # its event loop has ended meanwhile
                self.server.loop.call_soon_threadsafe(self.server.stop)
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive(), "it has not stopped"
        return 0

    def close(self) -> None:
        self.stop()
        logging.getLogger().removeHandler(self._log)
        self._log.close()

    def _run(self) -> None:
        try:
            asyncio.run(self.server.run(lambda path: self._listens.set()))
        except Exception as error:
            self._error = error
            self._listens.set()


def _server(db: str, path: str, options: tuple[str, ...], settings: dict[str, Any]) -> Server:
    """Return the server that `raven serve` makes of these options, with settings that it has no option for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--as", dest="bound", action="append", default=[])
    parser.add_argument("--allow-uid", dest="allowed_uids", action="append", type=int, default=[])
    parser.add_argument("--max-request", type=int)
    parser.add_argument("--max-connections", type=int)
    parser.add_argument("--limit", dest="limits", action="append", default=[])
    arguments = {name: value for name, value in vars(parser.parse_args(options)).items() if value is not None}
    limits = dict(limit.split("=") for limit in arguments.pop("limits"))
    return Server(db, path, limits={name: int(number) for name, number in limits.items()}, **arguments, **settings)
