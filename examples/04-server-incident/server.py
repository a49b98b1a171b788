"""A small web shop with three flaws: an unchecked config, a store that fills up, a courier that never answers.

`server.py FOLDER LISTENER` serves on a listening socket that it inherits as the descriptor LISTENER, keeps its data in
FOLDER, and ends when its standard input is closed, so that it never outlives its parent process.
"""

from __future__ import annotations

import json
import os
import queue
import socket
import sqlite3
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

PRICES = {"lamp": 12.5, "kettle": 31.0}
# Seconds until a courier confirms; the shop has no timeout for a courier that never does.
COURIERS = {"van": lambda: True, "pigeon": threading.Event().wait}
ROOM = 60
TABLES = """
CREATE TABLE IF NOT EXISTS config (id INTEGER PRIMARY KEY, key TEXT, value TEXT);
CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, item TEXT, courier TEXT, state TEXT);
"""
Answer = tuple[int, Any]


class Shop:
    """The shop behind the server: its stored data survive a restart, its work in progress does not."""

    def __init__(self, folder: str) -> None:
        self._db = sqlite3.connect(os.path.join(folder, "shop.db"), check_same_thread=False, isolation_level=None)
        self._db.executescript(TABLES)
        self._lock = threading.Lock()
        self._todo: queue.Queue[int] = queue.Queue()
        self._at_work: tuple[int, float] | None = None
        self._not_found = 0
        self._log: deque[str] = deque(maxlen=200)
        if not self._rows("SELECT 1 FROM config"):
            self._set_config("tax_rate", 0.19)
        for (order,) in self._rows("SELECT id FROM orders WHERE state = 'new' ORDER BY id"):
            self._todo.put(order)
        threading.Thread(target=self._ship_orders, daemon=True).start()

    def answer(self, method: str, target: str, body: dict[str, Any]) -> Answer:
        """Serve one request and log it; an exception becomes an error response."""
        url = urlsplit(target)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        try:
            status, answer = self._serve(method, url.path.strip("/").split("/"), query, body)
        except Exception as error:
            status, answer = 500, f"{type(error).__name__}: {error}"
        self._log.append(f"{method} {url.path} {status} {answer if status >= 400 else ''}".rstrip())
        return status, answer

    def _serve(self, method: str, path: list[str], query: dict[str, str], body: dict[str, Any]) -> Answer:
        status = 200
        answer: Any = None
        match method, path:
            case "GET", ["price"]:
                answer = self._price(query["item"], int(query["qty"]))
            case "POST", ["carts"]:
                status, answer = self._add(body["item"], "", "cart")
            case "POST", ["orders"]:
                status, answer = self._add(body["item"], body["courier"], "new")
            case "GET", ["orders", order]:
                answer = self._rows("SELECT state FROM orders WHERE id = ?", int(order))[0][0]
            case "GET", ["status"]:
                answer = self._status()
            case "GET", ["log"]:
                answer = list(self._log)
            case "PUT", ["admin", "config"]:
                self._set_config(body["key"], body["value"])
            case "POST", ["admin", "purge"]:
                self._rows("DELETE FROM orders WHERE state = ?", body["state"])
            case "POST", ["admin", "quarantine"]:
                self._rows("UPDATE orders SET state = 'quarantined' WHERE id = ?", body["order"])
            case _:
                self._not_found += 1
                status, answer = 404, "no such page"
        return status, answer

    def _set_config(self, key: str, value: Any) -> None:
        self._rows("INSERT INTO config (key, value) VALUES (?, ?)", key, json.dumps(value))

    def _config(self) -> dict[str, list[Any]]:
        """Return all values that each key has had, the current one last."""
        values: dict[str, list[Any]] = {}
        for key, value in self._rows("SELECT key, value FROM config ORDER BY id"):
            values.setdefault(key, []).append(json.loads(value))
        return values

    def _price(self, item: str, qty: int) -> float:
        tax_rate = float(self._config()["tax_rate"][-1])
        return round(PRICES[item] * qty * (1 + tax_rate), 2)

    def _add(self, item: str, courier: str, state: str) -> Answer:
        """Store a cart or an order if the limit of open entries allows it."""
        if self._rows("SELECT count(*) FROM orders WHERE state IN ('cart', 'new')")[0][0] >= ROOM:
            return 507, "the store is full"
        row = self._rows(
            "INSERT INTO orders (item, courier, state) VALUES (?, ?, ?) RETURNING id", item, courier, state
        )
        if state == "new":
            self._todo.put(row[0][0])
        return 201, row[0][0]

    def _ship_orders(self) -> None:
        while True:
            order = self._todo.get()
            for (courier,) in self._rows("SELECT courier FROM orders WHERE id = ? AND state = 'new'", order):
                self._at_work = order, time.monotonic()
                COURIERS[courier]()
                self._rows("UPDATE orders SET state = 'shipped' WHERE id = ?", order)
                self._at_work = None

    def _status(self) -> dict[str, Any]:
        order, since = self._at_work or (None, time.monotonic())
        return {
            "pid": os.getpid(),
            "config": self._config(),
            "room": ROOM,
            "orders": dict(self._rows("SELECT state, count(*) FROM orders GROUP BY state")),
            "worker": {"order": order, "busy_s": round(time.monotonic() - since, 2)},
            "not_found": self._not_found,
        }

    def _rows(self, sql: str, *params: Any) -> list[Any]:
        with self._lock:
            return self._db.execute(sql, params).fetchall()


class Server(ThreadingHTTPServer):
    """Serves on an inherited listening socket; closing it waits for the requests in progress."""

    daemon_threads = False

    def __init__(self, listener: int, shop: Shop) -> None:
        super().__init__(("", 0), Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = socket.socket(fileno=listener)
        self.shop = shop


class Handler(BaseHTTPRequestHandler):
    """Turns HTTP into calls of the shop, and its answers into JSON."""

    server: Server

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        status, answer = self.server.shop.answer(self.command, self.path, json.loads(self.rfile.read(length) or "{}"))
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_POST = do_PUT = do_GET  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing: the shop keeps its own log."""


def main() -> None:
    folder, listener = sys.argv[1:]
    server = Server(int(listener), Shop(folder))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
    with suppress(KeyboardInterrupt):
        sys.stdin.read()
    server.shutdown()
    server.server_close()


if __name__ == "__main__":
    main()
