"""The news desk: five processes, fan-out and fan-in, and a wrong fact that never reaches the front page."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from raven import BusObserver
from tests.docs.examples import NEWS_DESK, Ended, blocks, in_example, run_to_its_end, shapes


@pytest.fixture(scope="module")
def news_desk(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    return run_to_its_end(NEWS_DESK, tmp_path_factory.mktemp("news-desk"))


def test_the_news_desk_publishes_each_story_once_both_verdicts_on_its_last_draft_are_good(news_desk: Ended) -> None:
    stories = news_desk.of_type("story")

    assert sorted(str(msg.correlation_id) for msg in stories) == ["harbour-ferry", "late-trams", "school-meals"]
    for story in stories:
        thread = news_desk.about(story.correlation_id)
        verdicts = {msg.sender: msg for msg in thread if msg.reply_to == story.reply_to and msg is not story}
        assert verdicts.keys() == {"editor:desk", "fact-checker:desk"}
        assert all(verdict.id < story.id for verdict in verdicts.values())
        assert verdicts["editor:desk"].body["words_over"] == 0
        assert len(story.body["text"].split()) == verdicts["editor:desk"].body["words"] <= 45
        facts = verdicts["fact-checker:desk"].body
        assert facts["stated_pct"] == facts["true_pct"]
        assert f"{facts['true_pct']:.1f} Percent" in story.body["headline"]
        assert story.body["headline"] in news_desk.output


def test_the_news_desk_fans_each_draft_out_to_two_addresses(news_desk: Ended) -> None:
    with BusObserver(str(news_desk.db_path)) as bus:
        recipients = [bus.recipients(draft.id) for draft in news_desk.of_type("draft")]

    assert recipients == [["editor:desk", "fact-checker:desk"]] * 5


def test_the_news_desk_sends_a_wrong_fact_back_and_prints_the_right_one(news_desk: Ended) -> None:
    meals = news_desk.about("school-meals")

    checks = [msg.body for msg in meals if msg.type == "fact-check"]
    assert checks == [{"stated_pct": 42.0, "true_pct": 24.0}, {"stated_pct": 24.0, "true_pct": 24.0}]
    first, second = (msg.id for msg in meals if msg.type == "draft")
    assert [msg.reply_to for msg in meals if msg.type in ("returned", "story")] == [first, second]
    front_page = news_desk.output.partition("THE DAILY RAVEN")[2]
    assert "24.0 percent" in front_page
    assert "42.0" not in front_page


def test_the_news_desk_reports_no_item_twice_and_none_that_is_no_news(news_desk: Ended) -> None:
    leads = [msg.correlation_id for msg in news_desk.of_type("lead")]

    assert leads == ["harbour-ferry", "school-meals", "late-trams"]
    assert [msg.body for msg in news_desk.of_type("wire-read")] == [{"items": 5, "leads": 3}]


def test_the_news_desk_prints_what_its_readme_shows(news_desk: Ended) -> None:
    assert shapes(blocks("03-news-desk", "text")[-1]) <= shapes(news_desk.output)
    assert news_desk.output.splitlines()[-1] == f"bus: {news_desk.db_path}"


def test_the_news_desk_is_five_processes(news_desk: Ended) -> None:
    pids = {msg.sender: msg.body["pid"] for msg in news_desk.of_type("on-duty")}

    roles = ["editor", "fact-checker", "publisher", "scout", "writer"]
    assert sorted(pids) == [f"{role}:desk" for role in roles]
    assert len({*pids.values(), os.getpid()}) == len(roles) + 1


@pytest.mark.parametrize(
    ("type_", "body", "complaint"),
    [
        ("gossip", {}, "type 'gossip' has no schema"),
        ("fact-check", {"stated_pct": "24", "true_pct": 24.0}, "does not fit FactCheck: stated_pct"),
        ("fact-check", {"stated_pct": 24.0, "true_pct": 24.0, "mood": "sure"}, "does not fit FactCheck: mood"),
    ],
)
def test_the_news_desk_refuses_to_send_what_its_schemas_do_not_know(
    tmp_path: Path, type_: str, body: dict[str, object], complaint: str
) -> None:
    # In a process of its own, since strict mode holds for a whole process.
    program = f"""
import schemas
from raven import BusClient, SchemaValidationError
schemas.enforce()
with BusClient.at("fact-checker:desk", {str(tmp_path / "desk.db")!r}) as bus:
    try:
        bus.send("publisher:desk", {type_!r}, {body!r})
    except SchemaValidationError as error:
        print(error, bus.last_id())
"""
    printed = in_example("03-news-desk", program)
    assert complaint in printed
    assert printed.endswith(" 0\n")
