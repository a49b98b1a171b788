"""The live page of servers that write nothing, act as one address, or stop to answer."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from raven import BusClient
from tests.http.page.conftest import Site

pytestmark = pytest.mark.process
Connect = Callable[..., BusClient]
Serve = Callable[..., Site]
Show = Callable[..., Page]
WRITES = "#compose, #requeue-all, .row-actions button, .actions .primary, .delivery button"


def test_the_page_of_a_server_that_only_reads_offers_no_write_and_says_why(
    connect: Connect, site: Serve, show: Show
) -> None:
    ann, bob = connect("ann:s"), connect("bob:s")
    job = ann.send("bob:s", "job", 1, max_attempts=1)
    ann.send("human:s", "question", "may I?")
    bob.nack(bob.claim()[0].id, reason="no")
    for options, is_read_only in ((["--no-token", "--read-only"], True), (["--no-token"], False)):
        served = site(*options)
        page = show(served.url)
        expect(page.locator("#read-only")).to_be_visible(visible=is_read_only)
        for view, row in (("inbox", "question"), ("dead", "job"), (f"message/{job.id}", "")):
            page.evaluate(f"location.hash = '#/{view}'")
            if row:
                expect(page.locator(f"#{view}-list .row")).to_contain_text(row)
            else:
                expect(page.locator("#detail .delivery")).to_have_count(1)
            offered = page.locator(WRITES).locator("visible=true")
            assert (offered.count() == 0) == is_read_only
        for key in "cr":
            page.keyboard.press(key)
            expect(page.locator("#composer")).to_be_visible(visible=not is_read_only)
            if not is_read_only:
                page.keyboard.press("Escape")
                expect(page.locator("#composer")).to_be_hidden()
        if is_read_only:
            expect(page.locator("#toasts")).to_contain_text("its server was started with --read-only")
        page.close()
        served.close()


def test_the_page_of_a_bound_server_is_that_of_its_address(connect: Connect, site: Serve, show: Show) -> None:
    ann, bob = connect("ann:s"), connect("bob:s")
    bob.send("eve:s", "secret", "not for ann")
    question = bob.send("ann:s", "question", "ready?")
    served = site("--no-token", "--as", "ann:s")
    page = show(served.url)
    expect(page.locator("#me")).to_have_value("ann:s")
    expect(page.locator("#me")).to_have_attribute("readonly", "")
    expect(page.locator("#feed-count")).to_have_text("1 message")
    page.keyboard.press("2")
    page.click("#inbox-list [data-action=reply]")
    expect(page.locator("#composer .from")).to_have_text("ann:s")
    page.fill("#composer [name=body]", "yes")
    page.click("#composer [name=send]")
    expect(page.locator("#toasts")).to_contain_text(f"Replied to #{question.id}")
    page.click("#inbox-list [data-action=ack]")
    expect(page.locator("#inbox-list .row")).to_have_count(0)
    assert [(one.sender, one.body) for one in bob.inbox()] == [("ann:s", "yes")]
    assert ann.inbox() == []
    page.close()
    served.close()

    page = show(site("--no-token", "--as", "ann:s", "--as", "bob:s").url)
    page.keyboard.press("2")
    expect(page.locator("#inbox-list .empty")).to_contain_text("No mail")
    page.fill("#me", "eve:s")
    page.press("#me", "Enter")
    expect(page.locator("#me-note")).to_have_text("This server acts only as ann:s, bob:s")
    page.fill("#me", "bob:s")
    page.press("#me", "Enter")
    expect(page.locator("#inbox-list .row")).to_contain_text("yes")


def test_a_page_whose_server_is_frozen_says_so_and_goes_on_without_gap_or_double(
    connect: Connect, site: Serve, show: Show
) -> None:
    ann = connect("ann:s")
    served = site()
    page = show(served.url, expected=("ERR_",))
    page.clock.install()
    page.reload()
    page.wait_for_selector('#connection[data-state="live"]')
    ann.send("bob:s", "n", "before")
    expect(page.locator("#feed-count")).to_have_text("1 message")
    served.process.send_signal(signal.SIGSTOP)
    try:
        for number in range(3):
            ann.send("bob:s", "n", number)
            page.clock.fast_forward(21_000)
            expect(page.locator("#connection")).to_have_text("no news for 20 s")
    finally:
        served.process.send_signal(signal.SIGCONT)
    page.wait_for_selector('#connection[data-state="live"]')
    expect(page.locator("#feed-count")).to_have_text("4 messages")
    ann.send("bob:s", "n", "after")
    expect(page.locator("#feed-count")).to_have_text("5 messages")
    assert page.locator("#feed-list .row").count() == 5
