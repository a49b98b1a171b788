"""Invalid rows that an external writer put into raven's tables do not block the rest of the mail."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from raven import BusClient
from raven.wake.doorbell import Doorbells
from tests.support import Foreign

Connect = Callable[..., BusClient]

FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


@pytest.mark.parametrize(("stored", "shown"), [((1 << 63) - 1, LAST), (-(1 << 63), FIRST), (1 << 60, LAST)])
def test_a_time_beyond_the_calendar_shows_as_the_latest_time(
    connect: Connect, foreign: Foreign, stored: int, shown: datetime
) -> None:
    bus = connect("worker:s")
    sent = bus.send("worker:s", "note")
    foreign.execute("UPDATE messages SET created_at = ?", stored)
    foreign.execute("UPDATE identities SET registered_at = ?, last_seen = ?", stored, stored)
    bus.send("worker:s", "note", "next")

    assert [message.body for message in bus.inbox()] == [None, "next"]
    assert bus.read(sent.id).created_at == shown
    assert bus.peers()[0].last_seen == shown or bus.peers()[0].last_seen is not None
    assert [message.body for message in bus.claim(2)] == [None, "next"]
    assert len(list(bus.tail(follow=False))) == 2


@pytest.mark.parametrize(("stored", "shown"), [("x", ("x",)), ("5", ("5",)), ("[1, null]", ("[1, null]",)), ("[]", ())])
def test_tags_that_are_not_a_list_of_texts_show_as_their_text(
    connect: Connect, foreign: Foreign, stored: str, shown: tuple[str, ...]
) -> None:
    bus = connect("worker:s")
    bus.send("worker:s", "note", tags=["a"])
    foreign.execute("UPDATE messages SET tags = ?", stored)

    assert bus.inbox()[0].tags == shown
    assert bus.claim()[0].tags == shown


@pytest.mark.parametrize("stored", ["..", "*/../../elsewhere/x", "../elsewhere/x", "*x/../../elsewhere"])
def test_a_recipient_that_is_a_path_creates_no_file_outside_the_bells_folder(
    connect: Connect, foreign: Foreign, db: str, tmp_path: Path, stored: str
) -> None:
    bus = connect("worker:s")
    bus.send("unread:s", "note")
    foreign.execute("UPDATE deliveries SET recipient = ?", stored)
    folder = tmp_path / "elsewhere" / "x"
    folder.mkdir(parents=True)
    (tmp_path / f"{os.path.basename(db)}-bells" / "*").mkdir(parents=True)
    dead = [folder / "pipe", tmp_path / "elsewhere" / "pipe"]
    for path in dead:
        os.mkfifo(path)

    shown: list[Any] = bus.peers()
    Doorbells(db).ring([stored])
    bus.stats()

    assert stored in {peer.address for peer in shown}
    assert all(path.is_fifo() for path in dead)
