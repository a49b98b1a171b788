"""Fixtures: the live page of a real server in a real browser, which fails the test if the page does wrong."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.rpc_server import Served
from tests.support import DEADLINE_S, needs

expect.set_options(1000 * DEADLINE_S)
_VIOLATIONS = (
    "addEventListener('securitypolicyviolation', e => console.error('CSP', e.violatedDirective, e.blockedURI))"
)


class Site(Served):
    """`raven serve --http` at a port that stays the same when it starts again."""

    def __init__(self, db: str, *options: str) -> None:
        super().__init__(db, None, "--http", "127.0.0.1:0", *(options or ["--no-token"]))

    def start(self) -> None:
        super().start()
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().removeprefix("listening at ").rstrip("\n")
        way, _, *options = self._options
        self._options = (way, urlsplit(self.url).netloc, *options)


@pytest.fixture
def site(db: str) -> Iterator[Callable[..., Site]]:
    """Serve the bus over HTTP, with options of `raven serve`; gone at the end."""
    with ExitStack() as stack:
        yield lambda *options: stack.enter_context(Site(db, *options))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start the browser of all tests of a module; while it runs, this thread can run no other event loop."""
    needs("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@pytest.fixture
def show(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Open an address in a window of its own.

    At the end no window may have had an error, a violation of the page's policy, or a request to another host. An error
    that contains one of `expected` is allowed.
    """
    contexts, faults = [], []

    def open_page(url: str, *, expected: tuple[str, ...] = (), **options: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1440, "height": 900}, **options})
        contexts.append(context)
        context.set_default_timeout(1000 * DEADLINE_S)
        context.add_init_script(_VIOLATIONS)
        page = context.new_page()
        host = url.partition("//")[2].partition("/")[0]

        def note(text: str) -> None:
            if not any(one in text for one in expected):
                faults.append(text)

        page.on("console", lambda one: note(f"{one.type}: {one.text}") if one.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: note(f"exception: {error}"))
        page.on("request", lambda one: note(f"sent to {one.url}") if f"//{host}/" not in one.url else None)
        page.goto(url)
        page.wait_for_selector('#connection[data-state="live"]')
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []
