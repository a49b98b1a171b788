"""The examples do what their READMEs say: each is run as a user would run it, and its bus is looked at afterwards."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from raven import BusObserver
from tests.docs.examples import (
    COMMANDS,
    CONSUMER,
    HELLO,
    NEWS_DESK,
    PRODUCER,
    SERVER_INCIDENT,
    blocks,
    deadline,
    messages_on,
    run,
    run_to_its_end,
    shapes,
    start,
    succeed,
)


@pytest.mark.parametrize("example", COMMANDS)
def test_the_commands_in_a_readme_are_the_ones_that_are_run_here(example: str) -> None:
    assert [block.strip() for block in blocks(example, "sh")] == COMMANDS[example]


def test_hello_world_prints_exactly_what_its_readme_shows(tmp_path: Path) -> None:
    hello = run_to_its_end(HELLO, tmp_path)

    assert blocks("01-hello-world", "text") == [hello.output]
    question, answer = hello.messages
    assert (question.body["text"], answer.body["text"]) == ("Hello, world?", "Hello, world!")
    assert answer.reply_to == question.id


def test_hello_world_uses_the_bus_it_is_given(tmp_path: Path) -> None:
    succeed(HELLO, tmp_path, str(tmp_path / "mine.db"))

    assert [msg.type for msg in messages_on(tmp_path / "mine.db")] == ["question", "answer"]


def test_a_consumer_that_waits_already_is_woken_by_the_producer(tmp_path: Path) -> None:
    with deadline(start(CONSUMER, tmp_path)) as consumer:
        assert consumer.stdout is not None
        first_line = consumer.stdout.readline()
        sent = succeed(PRODUCER, tmp_path)
        output, errors = consumer.communicate()

    assert (consumer.returncode, errors) == (0, "")
    assert first_line == f"consumer {consumer.pid} waits for jobs\n"
    consumers_sample, producers_sample = blocks("02-two-processes", "text")
    assert shapes(first_line + output) == shapes(consumers_sample)
    assert shapes(sent) == shapes(producers_sample)
    (bus,) = tmp_path.glob("raven-two-processes-*.db")
    assert {msg.body["pid"] for msg in messages_on(bus)}.isdisjoint({consumer.pid, os.getpid()})


def test_jobs_of_a_producer_that_has_ended_wait_for_the_consumer(tmp_path: Path) -> None:
    db_path = tmp_path / "jobs.db"

    succeed(PRODUCER, tmp_path, str(db_path))
    with BusObserver(str(db_path)) as bus:
        assert [(msg.type, msg.state) for msg in bus.tail(follow=False)] == [("count-words", "sent")] * 5 + [
            ("no-more", "sent")
        ]
    output = succeed(CONSUMER, tmp_path, str(db_path))

    assert "5 of 5 jobs done, 23 words in all" in output
    jobs = messages_on(db_path)[:-1]
    assert sum(len(job.body["text"].split()) for job in jobs) == 23


@pytest.mark.parametrize("command", [NEWS_DESK, SERVER_INCIDENT])
def test_a_run_takes_a_path_for_its_bus_and_refuses_one_that_is_taken(tmp_path: Path, command: str) -> None:
    db_path = tmp_path / "mine.db"
    succeed(command, tmp_path, str(db_path))
    before = messages_on(db_path)

    again = run(command, tmp_path, str(db_path))

    assert again.returncode == 2
    assert f"{db_path} exists already" in again.stderr
    assert messages_on(db_path) == before
