"""The live page in a browser: it shows the bus as it is, and changes it as its person wants."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from raven import BusClient
from tests.delivery.test_held import BETA, X, hold, link, tell
from tests.delivery.test_held import show as show_address
from tests.http.page.conftest import Site
from tests.support import Foreign, wait_until

pytestmark = pytest.mark.process
Connect = Callable[..., BusClient]
Serve = Callable[..., Site]
Show = Callable[..., Page]
FEED, DETAIL, TOASTS = "#feed-list .row", "#detail", "#toasts"
# Notes beside each text that the count of the feed gets how many rows the feed has at that moment.
COUNTED = """
window.counted = [];
const count = document.querySelector("#feed-count");
new MutationObserver(() => counted.push([count.textContent, document.querySelectorAll("#feed-list .row").length]))
    .observe(count, {childList: true});
"""


def rows(page: Page) -> list[str]:
    """Return the texts of the rows in sight, from the top."""
    texts: list[str] = page.evaluate(
        f"[...document.querySelectorAll('{FEED}')].sort((a, b) => a.index - b.index).map(row => row.innerText)"
    )
    return [re.sub(r"\s+", " ", text) for text in texts]


def test_messages_and_their_states_appear_by_themselves_by_thread_and_filtered(
    connect: Connect, site: Serve, show: Show
) -> None:
    ann, bob = connect("ann:s"), connect("bob:s")
    old = ann.send("bob:s", "old", "before the page")
    page = show(site().url)
    expect(page.locator(FEED)).to_have_count(1)
    page.evaluate(COUNTED)
    task = ann.send("bob:s", "task", {"path": "lexer.py"}, urgency="blocking", tags=["ci"])
    reply = bob.reply(task.id, "result", "three <b>findings</b>")
    ann.send("*:s", "start", "all of you", urgency="fyi")

    expect(page.locator(FEED)).to_have_count(4)
    start, first, second, last = rows(page)
    assert "ann:s *:s" in start
    assert "1 reply" in first
    assert "task path: lexer.py sent" in first
    assert "bob:s ann:s" in second
    assert "three <b>findings</b>" in second
    assert "old before the page" in last
    expect(page.locator("#roster-list .row:has-text('bob') .badge.ready")).to_have_text("3")
    claimed = bob.claim(2)
    expect(page.locator(f"#row-{task.id} .state")).to_have_text("in flight")
    bob.ack(claimed[0].id)
    expect(page.locator(f"#row-{task.id} .state")).to_have_text("acked")
    assert claimed[0].id == task.id

    def shown(*ids: int) -> None:
        wait_until(
            lambda: (
                {int(text) for text in page.locator(FEED).evaluate_all("all => all.map(row => row.id.slice(4))")}
                == set(ids)
            ),
            f"only {ids}",
        )

    page.click("[data-urgency-filter=blocking]")
    shown(task.id)
    page.click("[data-urgency-filter=blocking]")
    page.select_option("#filter-type", "result")
    shown(reply.id)
    page.select_option("#filter-type", "")
    page.fill("#filter-text", "ci lexer")
    shown(task.id)
    page.press("#filter-text", "Escape")
    page.select_option("#filter-state", "acked")
    shown(task.id)
    page.select_option("#filter-state", "")
    page.fill("#filter-text", f"#{old.id}")
    shown(old.id)
    page.fill("#filter-text", "nothing like this")
    page.click("#feed-empty button")
    page.click("#roster-list .row:has-text('bob')")
    shown(old.id, task.id, reply.id, reply.id + 1)
    page.click("#chips button")
    page.click("#by-thread")
    shown(old.id, task.id, reply.id, reply.id + 1)

    page.click("#pause")
    page.wait_for_selector('#connection[data-state="paused"]')
    more = [ann.send("bob:s", "more", number).id for number in range(3)]
    expect(page.locator("#newer")).to_have_text("3 new while paused: go on")
    shown(old.id, task.id, reply.id, reply.id + 1)
    page.click("#newer")
    shown(old.id, task.id, reply.id, reply.id + 1, *more)
    counted = page.evaluate("counted")
    assert counted[-1] == ["7 messages", 7]
    assert [text for text, rows in counted if int(text.split()[0]) != rows] == []


def test_a_message_shows_its_deliveries_and_is_requeued(connect: Connect, site: Serve, show: Show) -> None:
    ann, bob = connect("ann:s"), connect("bob:s")
    big = ann.send("bob:s", "job", {"text": "x" * 5000, "big": 2**60 + 1, "real": 1.50}, max_attempts=1)
    page = show(f"{site().url}#/message/{big.id}")
    detail = page.locator(DETAIL)
    expect(detail.locator("li.step")).to_have_text(
        [re.compile("^sent"), re.compile("^delivered"), re.compile("^acked")]
    )
    expect(detail.locator('[data-state="open"]')).to_have_count(2)
    [job] = bob.claim()
    expect(detail.locator(".delivery-head")).to_contain_text("in flight, lease ends in")
    expect(detail.locator(".body")).not_to_contain_text(str(2**60 + 1))
    detail.locator(".unfold").click()
    bob.nack(job.id, reason="no <i>disk</i> left")
    expect(detail.locator(".reason")).to_have_text("no <i>disk</i> left")
    expect(detail.locator(".delivery-head")).to_contain_text("attempt 1 of 1")
    expect(detail.locator(".body")).to_contain_text(str(2**60 + 1))
    expect(page.locator("#dead-count")).to_have_text("1")
    page.keyboard.press("3")
    letter = page.locator("#dead-list .row")
    expect(letter).to_contain_text("no <i>disk</i> left")
    letter.locator("button").click()
    expect(page.locator(TOASTS)).to_contain_text(f"Requeued 1 delivery of #{big.id}")
    expect(letter).to_have_count(0)
    assert [message.id for message in bob.claim()] == [big.id]


def test_a_person_composes_gets_mail_replies_and_acks(connect: Connect, site: Serve, show: Show) -> None:
    ann = connect("ann:s")
    page = show(site().url, expected=("422",))
    expect(page.locator("#me")).to_have_attribute("placeholder", "human:demo")
    ann.inbox()
    expect(page.locator("#me")).to_have_value("human:s")
    page.keyboard.press("c")
    send = page.locator("#composer [name=send]")
    for to, kind, body, fault in (
        ("ann", "note", "", "“ann” is no address"),
        ("a*:s", "note", "", "* stands for a whole role"),
        ("ann:s", "note", "{", "The body is no JSON"),
        ("ann:s", "raven.own", "1", ""),
    ):
        page.fill("#composer [name=to]", to)
        page.fill("#composer [name=type]", kind)
        page.fill("#composer [name=body]", body or "x")
        page.locator("#composer label:has-text('JSON')" if body else "#composer label:has-text('Text')").click()
        expect(page.locator(".form-note")).to_contain_text(fault)
        expect(send).to_be_enabled(enabled=not fault)
    send.click()
    expect(page.locator(".form-note")).to_contain_text("raven.own")
    page.fill("#composer [name=type]", "question")
    page.fill("#composer [name=body]", '{"big": 12345678901234567890, "ok": 1.0}')
    page.click("#composer label:has-text('blocking')")
    page.press("#composer [name=body]", "Control+Enter")
    expect(page.locator(TOASTS)).to_contain_text("Sent as #")
    [question] = ann.inbox()
    assert (question.sender, question.urgency, question.body) == (
        "human:s",
        "blocking",
        {"big": 12345678901234567890, "ok": 1.0},
    )

    answer = ann.reply(question, "answer", "yes")
    expect(page.locator("#inbox-count")).to_have_text("1")
    page.keyboard.press("2")
    mail = page.locator("#inbox-list .row")
    expect(mail).to_contain_text(re.compile("answer *yes"))
    mail.locator("[data-action=reply]").click()
    page.fill("#composer [name=body]", "thanks\nand bye")
    page.click("#composer [name=send]")
    expect(page.locator(TOASTS)).to_contain_text(f"Replied to #{answer.id}")
    thanks = ann.inbox()[-1]
    assert (thanks.reply_to, thanks.body) == (answer.id, "thanks\nand bye")
    mail.locator("[data-action=ack]").click()
    expect(mail).to_have_count(0)
    assert [receipt.state for receipt in ann.receipts(answer.id)] == ["acked"]


def test_the_stream_goes_on_over_a_killed_server_without_gap_or_double_and_begins_anew_with_another_bus(
    connect: Connect, db: str, site: Serve, show: Show
) -> None:
    ann, bob = connect("ann:s"), connect("bob:s")
    served = site()
    page = show(served.url, expected=("ERR_",))
    page.keyboard.press("t")
    first = [ann.send("bob:s", "n", number).id for number in range(5)]
    expect(page.locator(FEED)).to_have_count(5)
    served.kill()
    page.wait_for_selector('#connection[data-state="reconnecting"]')
    second = [ann.send("bob:s", "n", number).id for number in range(5)]
    bob.ack(bob.claim()[0].id)
    served.start()
    page.wait_for_selector('#connection[data-state="live"]')
    expect(page.locator(TOASTS)).to_contain_text(f"went on after #{first[-1]}")
    third = [ann.send("bob:s", "n", number).id for number in range(5)]
    expect(page.locator("#feed-count")).to_have_text("15 messages")
    ids = page.evaluate(
        f"[...document.querySelectorAll('{FEED}')].sort((a, b) => a.index - b.index).map(r => +r.id.slice(4))"
    )
    assert ids == [*reversed([*first, *second, *third])]
    expect(page.locator(f"#row-{first[0]} .state")).to_have_text("acked")
    page.reload()
    expect(page.locator("#feed-count")).to_have_text("15 messages")

    served.kill()
    for suffix in ("", "-wal", "-shm"):
        Path(f"{db}{suffix}").unlink(missing_ok=True)
    connect("eve:other").send("bob:s", "n", "of another bus")
    served.start()
    expect(page.locator(TOASTS)).to_contain_text("The page begins anew")
    expect(page.locator("#feed-count")).to_have_text("1 message")
    expect(page.locator(FEED)).to_contain_text("of another bus")
    expect(page.locator("#roster-list .row:has-text('ann')")).to_have_count(0)


def test_hostile_texts_stay_texts_and_turn_nothing_around(connect: Connect, site: Serve, show: Show) -> None:
    script = "<img src=x onerror=alert(1)><script>alert(1)</script>"
    bodies: list[Any] = [
        script,
        {script: [script, None]},
        "a\u202egnp.exe\u2066\u0007\u200f",
        "</script><!--",
        '"\\',
        "\ud83d\ude00" * 3000,
    ]
    ann = connect('<b>"ann"\u202e</b>:s')
    for body in bodies:
        ann.send("bob:<i>s</i>", f"{script}\u202e", json.loads(json.dumps(body)), tags=[script], correlation_id=script)
    page = show(site().url)
    expect(page.locator(FEED)).to_have_count(len(bodies))
    for number, body in enumerate(bodies, 1):
        page.evaluate(f"location.hash = '#/message/{number}'")
        expect(page.locator(f"{DETAIL} h2")).to_have_text(f"#{number}")
        expect(page.locator(f"{DETAIL} .body")).to_contain_text("\u27e6U+202E\u27e7" if "\u202e" in str(body) else "")
    assert page.locator("img, main script, #detail b, #feed-list i").count() == 0
    turned = re.compile("[\u202a-\u202e\u2066-\u2069\u200e\u200f\u0007]")
    assert not turned.search(page.evaluate("document.body.textContent + document.title"))
    assert page.evaluate(
        "[...document.querySelectorAll('[title], [aria-label]')]"
        ".every(e => !/[\\u202a-\\u202e]/.test(e.title + e.ariaLabel))"
    )
    expect(page.locator(FEED).first).to_contain_text("⟦U+202E⟧")


def test_the_keys_move_open_search_and_close(connect: Connect, site: Serve, show: Show) -> None:
    ann = connect("ann:s")
    for number in range(60):
        ann.send("bob:s", "n", number)
    page = show(site().url)
    expect(page.locator("#feed-count")).to_have_text("60 messages")
    for keys, selected, is_open in (
        ("jjj", 58, False),
        ("k", 59, False),
        ("Enter", 59, True),
        ("j", 58, True),
        ("Escape", 58, False),
        ("j" * 30, 28, False),
    ):
        for key in [keys] if len(keys) > 1 and keys[0] in "E" else keys:
            page.keyboard.press(key)
        expect(page.locator(f"#row-{selected}.selected")).to_be_in_viewport()
        expect(page.locator(DETAIL)).to_be_visible(visible=is_open)
        assert page.evaluate("location.hash").endswith(f"/message/{selected}") == is_open
    page.keyboard.press("g")
    page.keyboard.press("/")
    page.keyboard.type("jpc")
    expect(page.locator("#feed-empty")).to_contain_text("No message matches")
    page.keyboard.press("Escape")
    expect(page.locator("#row-60")).to_be_in_viewport()
    page.keyboard.press("p")
    page.wait_for_selector('#connection[data-state="paused"]')
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#help")).to_be_hidden()
    page.keyboard.press("4")
    expect(page.locator("#stats .tile").first).to_contain_text("60")
    unnamed = (
        "[...document.querySelectorAll('button, input, select')].filter("
        "e => e.offsetParent && !(e.ariaLabel || e.textContent || e.labels?.length)).map(e => e.outerHTML)"
    )
    assert page.evaluate(unnamed) == []


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (1440, "dark"), (400, "light"), (400, "dark")])
def test_each_view_fits_its_window_in_light_and_dark(
    connect: Connect, site: Serve, show: Show, tmp_path: Path, width: int, scheme: str
) -> None:
    ann = connect("ann-with-a-long-role-name:session-with-a-long-name")
    for number in range(20):
        ann.send(
            "*:*" if number % 3 else "bob:s",
            f"type-{number}",
            {"text": "word " * 40, "long": "x" * 300},
            max_attempts=1,
        )
    bob = connect("bob:s")
    bob.nack(bob.claim()[0].id, reason="y" * 300)
    page = show(site().url, viewport={"width": width, "height": 800}, color_scheme=scheme)
    expect(page.locator(FEED).first).to_be_visible()
    backgrounds = set()
    for view, shown in (
        ("feed", FEED),
        ("agents", "#roster-list .row.is-quiet"),
        ("inbox", "#inbox-list .empty"),
        ("dead", "#dead-list .row"),
        ("stats", "#stats .tile"),
        ("message/20", f"{DETAIL} .body"),
    ):
        page.evaluate(f"location.hash = '#/{view}'")
        expect(page.locator(shown).first).to_be_visible()
        page.screenshot(path=tmp_path / f"{width}-{scheme}-{view.replace('/', '-')}.png")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        wide = page.evaluate(
            "[...document.querySelectorAll('button, h2, .row, .tile, .body')].filter(e => e.offsetParent && "
            "e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"
        )
        assert wide == []
        backgrounds.add(page.evaluate("getComputedStyle(document.querySelector('.detail')).backgroundColor"))
    assert backgrounds == {"rgb(255, 255, 255)" if scheme == "light" else "rgb(22, 24, 29)"}
    page.evaluate("location.hash = '#/feed'")
    page.click("#theme")
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark" if scheme == "light" else "light")


def test_a_page_with_the_token_of_its_link_keeps_it_and_one_without_is_told(
    connect: Connect, db: str, site: Serve, show: Show, browser: Any
) -> None:
    connect("ann:s").send("bob:s", "n", 1)
    served = site("--read-only")
    token = Path(f"{db}.http-token").read_text("ascii").strip()
    page = show(f"{served.url}?token={token}")
    expect(page.locator(FEED)).to_have_count(1)
    assert page.url == f"{served.url}"
    assert page.context.cookies()[0]["httpOnly"]
    stranger = browser.new_page()
    assert stranger.goto(served.url).status == 401
    assert "raven serve --http --open" in stranger.inner_text("body")
    stranger.close()


def test_another_host_is_a_badge_of_its_agents_and_a_note_of_the_deliveries_that_it_has(
    connect: Connect, site: Serve, show: Show, foreign: Foreign, tmp_path: Path
) -> None:
    ann = connect("ann:s")
    job = ann.send([X, "ann:s"], "job")
    link(foreign)
    show_address(foreign)
    page = show(f"{site().url}#/message/{job.id}")
    agent = page.locator("#roster-list .row:has-text('x')")
    head = page.locator(f"{DETAIL} .delivery-head").first

    expect(agent.locator(".badge.host")).to_have_text(BETA)
    expect(agent.locator(".presence")).to_have_attribute("data-presence", "remote")
    expect(page.locator("#roster-list .row:has-text('ann') .badge.host")).to_be_hidden()
    hold(foreign, job.id)
    expect(head).to_contain_text(f"held for {BETA}")
    expect(agent).to_contain_text("1 held")
    page.screenshot(path=tmp_path / "hosts.png")
    tell(foreign, job.id, 2)
    expect(head).to_contain_text(f"on {BETA}")
    expect(head.locator("xpath=..").locator('[data-state="acked"]')).to_have_count(1)
