"""The live page in Chromium: the worst frame and the heap, with many messages and new ones all the time."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from raven import BusClient
from scripts.benchmarks.http.process import HttpServer
from scripts.benchmarks.interleave import percentiles
from scripts.benchmarks.metric import Metric, at_most
from scripts.benchmarks.send import BODY, RECIPIENT, SENDER
from scripts.harness.deadline import wait_until

_MESSAGES = 10_000
_PER_S = 100
_LOAD_S = 60
_ROW_PX = 20  # a row is higher
_HEIGHT = "() => document.getElementById('feed-list').scrollHeight"
# Scrolls through the list for a time, down and up, and returns the time between two frames, in ms, for each frame.
_SCROLL = """(seconds) => new Promise((resolve) => {
    const list = document.getElementById("feed-list"), frames = [];
    let before = performance.now(), step = 40;
    const end = before + 1000 * seconds;
    const frame = (now) => {
        frames.push(now - before);
        before = now;
        if (now > end) return resolve(frames);
        list.scrollTop += step;
        if (list.scrollTop <= 0 || list.scrollTop + list.clientHeight >= list.scrollHeight - 1) step = -step;
        requestAnimationFrame(frame);
    };
    requestAnimationFrame((now) => { before = now; requestAnimationFrame(frame); });
})"""


def run(folder: Path, quick: bool) -> list[Metric]:
    chromium = find_chromium()
    if chromium is None:
        print("http-page is left out: it needs Chromium and `pip install playwright`", file=sys.stderr)
        return []
    rounds, seconds = (3, 3.0) if quick else (5, 10.0)
    live, still, heaps, sent, elapsed_s = [], [], [], 0, 0.0
    with HttpServer(folder) as server, BusClient.at(SENDER, server.db) as bus, opened(chromium) as page:
        message = {"to": RECIPIENT, "type": "work", "body": BODY}
        for _ in range(_MESSAGES // 1000):
            bus.send_many([message] * 1000)
        page.goto(f"http://127.0.0.1:{server.endpoint.port}/?token={server.endpoint.token}")
        # Not `wait_for_function`, which the page's policy forbids, as it forbids any code that is not in its files.
        wait_until(lambda: page.evaluate(_HEIGHT) > _ROW_PX * _MESSAGES, "all rows of the page", _LOAD_S, every_s=0.1)
        row_px = page.evaluate(_HEIGHT) / _MESSAGES
        session = page.context.new_cdp_session(page)
        page.evaluate(_SCROLL, 1)  # the first frames compile the page's code
        for _ in range(rounds):
            still.append(page.evaluate(_SCROLL, seconds))
            with Traffic(server.db) as traffic:
                live.append(page.evaluate(_SCROLL, seconds))
            heaps.append(session.send("Runtime.getHeapUsage")["usedSize"] / 1e6)
            sent, elapsed_s = sent + traffic.sent, elapsed_s + traffic.elapsed_s
        rows = _MESSAGES + sent
        wait_until(lambda: page.evaluate(_HEIGHT) >= row_px * rows, "the rows of new messages", every_s=0.1)
    frames = {"new messages come in": live, "scrolled only": still}
    name = f"HTTP: page with {_MESSAGES:,} messages, scrolled while new ones come in:"
    note = f"{sent / elapsed_s:.0f} new messages/s, each of which a consumer acks; Chromium without a screen"
    worst, slow = percentiles(frames, 100, "ms"), percentiles(frames, 99, "ms")
    return [
        Metric.of(f"{name} worst frame of a round", worst[0].values, "ms", at_most(100), worst, note),
        Metric.of(f"{name} p99 of the frames", slow[0].values, "ms", sides=slow),
        Metric.of(f"{name} heap", heaps, "MB", at_most(150), note="as it is, without a garbage collection before"),
    ]


class Traffic:
    """A thread that sends `_PER_S` messages per second, and takes and acks each of them."""

    def __init__(self, db: str) -> None:
        self._db = db
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)
        self.sent = 0
        self.elapsed_s = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        with BusClient.at(SENDER, self._db) as sender, BusClient.at("worker:bench", self._db) as worker:
            begin = time.monotonic()
            while not self._stop.wait(max(0.0, begin + self.sent / _PER_S - time.monotonic())):
                sender.send("worker:bench", "work", BODY)
                self.sent += 1
                for message in worker.claim():
                    worker.ack(message.id)
            self.elapsed_s = time.monotonic() - begin


def find_chromium() -> str | None:
    """Return the path of Chromium; None if it or Playwright is missing."""
    try:
        import playwright  # noqa: F401
    except ImportError:
        return None
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextmanager
def opened(chromium: str) -> Iterator[Any]:
    """Yield an empty page in a new Chromium without a screen."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Chromium refuses its sandbox to root.
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        try:
            yield browser.new_page(viewport={"width": 1280, "height": 800})
        finally:
            browser.close()
