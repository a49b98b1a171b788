"""The news desk on two hosts: the agents of example 03 as they are, and a cable that is pulled while they work."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.examples import TWO_HOSTS, blocks, messages_on, run, shapes, succeed
from tests.support import needs


@pytest.mark.slow
def test_the_desk_brings_out_its_edition_though_the_cable_of_one_host_is_pulled(tmp_path: Path) -> None:
    needs("nats-server")

    output = succeed(TWO_HOSTS, tmp_path, str(tmp_path / "hosts"))

    assert shapes(blocks("11-two-hosts", "text")[-1]) <= shapes(output)
    assert "6 deliveries of 3 drafts wait for beta; the cable is plugged in again" in output
    alpha, beta = (messages_on(tmp_path / "hosts" / host / "bus.db") for host in ("alpha", "beta"))
    crossed = ("draft", "edit", "fact-check")
    assert [sum(msg.type == type_ for msg in alpha) for type_ in (*crossed, "story", "edition")] == [5, 5, 5, 3, 1]
    assert [sum(msg.type == type_ for msg in beta) for type_ in (*crossed, "story", "edition")] == [5, 5, 5, 0, 1]
    drafts = {msg.id: msg.correlation_id for msg in alpha if msg.type == "draft"}
    assert {drafts[msg.reply_to] == msg.correlation_id for msg in alpha if msg.type in crossed[1:]} == {True}


def test_hosts_that_are_there_already_are_left_as_they_are(tmp_path: Path) -> None:
    needs("nats-server")

    again = run(TWO_HOSTS, tmp_path, str(tmp_path))

    assert (again.returncode, list(tmp_path.iterdir())) == (2, [])
    assert f"{tmp_path} exists already" in again.stderr
