"""Watcher: follows the event stream of the server with the standard library alone, across restarts of the server."""

from __future__ import annotations

import http.client
import json
import threading
import time
import urllib.request
from collections import Counter
from contextlib import suppress
from typing import Any

# The server writes a comment every 15 s, so a longer silence means that it hangs.
SILENCE_S = 30.0
RETRY_S = 0.2


class Watcher(threading.Thread):
    """Counts how often the stream showed each message, and holds the last state that it showed of each delivery."""

    def __init__(self, url: str, token: str) -> None:
        super().__init__(daemon=True)
        self.shown: Counter[int] = Counter()
        self.states: dict[tuple[int, str], str] = {}
        self.connections = 0
        self._request = urllib.request.Request(
            f"{url}events?from=1&kinds=message&kinds=receipt", headers={"Authorization": f"Bearer {token}"}
        )
        self._closing = False

    def run(self) -> None:
        while not self._closing:
            with suppress(OSError, http.client.HTTPException):  # the server has died, or is not there yet
                self._follow()
            time.sleep(RETRY_S)

    def _follow(self) -> None:
        """Read one connection to its end; the next one continues after the last event that was read whole."""
        with urllib.request.urlopen(self._request, timeout=SILENCE_S) as stream:
            self.connections += 1
            fields: dict[str, str] = {}
            for line in stream:
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name:
                    fields[name] = value
                    continue
                if "data" in fields:
                    self._note(fields.get("event", "message"), json.loads(fields["data"]))
                if "id" in fields:
                    self._request.add_header("Last-Event-ID", fields["id"])
                fields = {}

    def _note(self, event: str, data: dict[str, Any]) -> None:
        if event == "message":
            self.shown[data["id"]] += 1
            for receipt in data["recipients"]:
                self.states[data["id"], receipt["recipient"]] = receipt["state"]
        elif event == "receipt":
            self.states[data["id"], data["recipient"]] = data["state"]

    def close(self) -> None:
        """Connect no more."""
        self._closing = True
