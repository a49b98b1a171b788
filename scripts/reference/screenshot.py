"""docs/page.png: the live page in Chromium, while the swarm of examples/10-watch-a-swarm works."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from raven import BusObserver
from scripts.harness.deadline import wait_until
from scripts.reference.pages import ROOT

_SCREENSHOT = ROOT / "docs" / "page.png"
_SIZE = {"width": 1440, "height": 760}
_MESSAGES = 80
_TIMEOUT_S = 90.0


def take() -> None:
    """Write the screenshot: beside a feed with a dead letter, the newest message that failed once and is acked now."""
    with tempfile.TemporaryDirectory() as folder:
        bus = Path(folder, "shop.db")
        command = [sys.executable, ROOT / "examples/10-watch-a-swarm/run.py", bus, "--seconds", "300", "--seed", "7"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as swarm:
            try:
                assert swarm.stdout is not None
                url = swarm.stdout.readline().split()[-1]
                with BusObserver(str(bus)) as observer:
                    _shoot(url, observer)
            finally:
                swarm.terminate()


def _shoot(url: str, observer: BusObserver) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport=_SIZE)
        page.goto(url)
        wait_until(lambda: observer.last_id() >= _MESSAGES and observer.dead(), "a dead letter", _TIMEOUT_S, 0.1)
        failed = wait_until(lambda: _failed_once(observer), "a message that failed once", _TIMEOUT_S, 0.1)
        page.evaluate("id => { location.hash = `#/message/${id}` }", failed)
        page.wait_for_selector(f"#detail >> text=#{failed}")
        page.wait_for_selector("#detail >> text=/the build is red|1 test timed out/")
        page.screenshot(path=_SCREENSHOT)
        browser.close()


def _failed_once(observer: BusObserver) -> int | None:
    """Return the id of the newest message that its recipient nacked and later acked."""
    messages = reversed(list(observer.tail(follow=False)))
    return next((msg.id for msg in messages if (msg.state, msg.attempts) == ("acked", 2) and msg.reply_to), None)
