"""The examples do what their READMEs say: each is run as a user would run it, and its bus is looked at afterwards."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from raven import BusObserver
from tests.docs.examples import (
    COMMANDS,
    CONSUMER,
    EXACTLY_ONCE,
    HELLO,
    NEWS_DESK,
    NODE,
    PRODUCER,
    SERVER_INCIDENT,
    SHELL_SOCAT,
    WATCH_A_SWARM,
    blocks,
    deadline,
    messages_on,
    run,
    run_to_its_end,
    shapes,
    start,
    succeed,
)
from tests.support import needs


@pytest.mark.parametrize("example", COMMANDS)
def test_the_commands_in_a_readme_are_the_ones_that_are_run_here(example: str) -> None:
    assert [block.strip() for block in blocks(example, "sh")] == COMMANDS[example]


def test_hello_world_prints_exactly_what_its_readme_shows(tmp_path: Path) -> None:
    hello = run_to_its_end(HELLO, tmp_path)

    assert blocks("01-hello-world", "text") == [hello.output]
    question, answer = hello.messages
    assert (question.body["text"], answer.body["text"]) == ("Hello, world?", "Hello, world!")
    assert answer.reply_to == question.id


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


@pytest.mark.parametrize(
    "command",
    [HELLO, NEWS_DESK, SERVER_INCIDENT, pytest.param(f"{EXACTLY_ONCE} --kills 5", marks=pytest.mark.slow)],
)
def test_a_run_takes_a_path_for_its_bus(tmp_path: Path, command: str) -> None:
    succeed(command, tmp_path, str(tmp_path / "mine.db"))

    assert messages_on(tmp_path / "mine.db")


@pytest.mark.parametrize(
    ("command", "path", "programs"),
    [
        (NEWS_DESK, "bus.db", []),
        (SERVER_INCIDENT, "bus.db", []),
        (EXACTLY_ONCE, "bus.db", []),
        (WATCH_A_SWARM, "bus.db", []),
        (NODE, "bus.db", ["node"]),
        (SHELL_SOCAT, "", ["jq", "socat"]),
    ],
)
def test_a_run_refuses_a_bus_that_is_there_already(
    tmp_path: Path, command: str, path: str, programs: list[str]
) -> None:
    needs(*programs)
    (tmp_path / "bus.db").touch()

    again = run(command, tmp_path, str(tmp_path / path))

    assert again.returncode == 2
    assert f"{tmp_path / 'bus.db'} exists already" in again.stderr
    assert [(path.name, path.stat().st_size) for path in tmp_path.iterdir()] == [("bus.db", 0)]
