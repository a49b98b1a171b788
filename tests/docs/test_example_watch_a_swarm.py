"""The watched swarm: the stream of events shows all of it, once, across the death of its server."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from raven import BusObserver
from tests.docs.examples import WATCH_A_SWARM, blocks, run, shapes
from tests.support import needs

pytestmark = pytest.mark.slow
SECONDS = 10


def test_the_stream_shows_a_dying_swarm_once_though_its_server_is_killed(tmp_path: Path) -> None:
    done = run(f"{WATCH_A_SWARM} --seconds {SECONDS} --seed 7", tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    *printed, bus = done.stdout.splitlines()
    (sample,) = blocks("10-watch-a-swarm", "text")[1:]
    page = re.compile(r"^page: http://127\.0\.0\.1:\d+/\?token=[0-9a-f]{64}$")
    assert page.match(printed[0])
    assert shapes("\n".join(printed[1:])) == shapes("\n".join(sample.splitlines()[1:-1]))
    assert page.match(sample.splitlines()[0])
    messages, deliveries, dead, deaths, connections = map(int, re.findall(r"\d+", " ".join(printed[3:5])))
    assert (messages > 20, deliveries >= messages, dead >= 1, deaths >= 3 * dead, connections) == (True,) * 4 + (2,)
    with BusObserver(bus.removeprefix("bus: ")) as observer:
        assert observer.last_id() == messages
        assert {(letter.type, letter.attempts) for letter in observer.dead()} == {("task", 3)}


def test_the_demo_opens_the_page_of_the_swarm_in_the_browser(tmp_path: Path) -> None:
    needs("curl")
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nexec curl -s -L -c "{tmp_path}/jar" -o "{tmp_path}/page.html" "$1"\n')
    browser.chmod(0o755)

    done = run(f"BROWSER={browser} scripts/demo --watch --seconds 4", tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    assert "<title>raven" in (tmp_path / "page.html").read_text(encoding="utf-8")
