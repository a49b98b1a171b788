"""The HTTP bridge of a bus on a port of its own, in a thread of the tests' process, and a client of it."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from raven_http import create_app
from scripts.harness.deadline import DEADLINE_S, wait_until


class BridgeHere:
    """The bridge behind uvicorn, serving when this is made; takes the options of `create_app`, or another app.

    `get`, `post` and `request` use one connection, and `client` makes another.
    """

    def __init__(self, db: str, *, app: Any = None, **options: Any) -> None:
        self.db = db
        self.log_path = Path(f"{db}.{id(self):x}.log")
        self._log = logging.FileHandler(self.log_path, encoding="utf-8")
        logging.getLogger().addHandler(self._log)
        # asyncio sets TCP_NODELAY only if the socket names its protocol; else an answer in two parts takes 40 ms.
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listening.bind(("127.0.0.1", 0))
        self.port = listening.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        config = uvicorn.Config(
            create_app(db, **options) if app is None else app,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=2,
        )
        self.server = uvicorn.Server(config)
        arguments = {"sockets": [listening]}
        self._thread = threading.Thread(target=self.server.run, kwargs=arguments, name="bridge", daemon=True)
        self._thread.start()
        self._clients: list[httpx.Client] = []
        wait_until(lambda: self.server.started or not self._thread.is_alive(), "the server to start")
        assert self.server.started, self.log()
        client = self.client()
        self.get: Callable[..., httpx.Response] = client.get
        self.post: Callable[..., httpx.Response] = client.post
        self.request: Callable[..., httpx.Response] = client.request

    def client(self, **options: Any) -> httpx.Client:
        """Return a client with one connection of its own."""
        limits = httpx.Limits(max_connections=1)
        client = httpx.Client(base_url=self.url, timeout=DEADLINE_S, limits=limits, **options)
        self._clients.append(client)
        return client

    def log(self) -> str:
        """Return all that this process has logged meanwhile."""
        return self.log_path.read_text(encoding="utf-8")

    def stop(self) -> None:
        """Stop the server; answers under way are written first."""
        self.server.should_exit = True
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive(), "it has not stopped"

    def close(self) -> None:
        for client in self._clients:
            client.close()
        self.stop()
        logging.getLogger().removeHandler(self._log)
        self._log.close()
