"""Small pieces of raven in what seldom happens to them: a Python without parts in C, one lease too many to remember."""

from __future__ import annotations

import importlib
import json.encoder
from pathlib import Path
from typing import NamedTuple

import apsw
import pytest

from raven import FileMissingError, NetworkFilesystemError
from raven.cli import output
from raven.model import body
from raven.model import leases as holdings
from raven.model.leases import Holdings
from raven.store import file as busfile
from raven.store import filesystem
from raven.store.errors import translate

CANTOPEN = 14


class Claimed(NamedTuple):
    """What of a message its holder remembers."""

    id: int
    lease: int | None


def test_the_module_that_runs_the_command_line_can_be_imported_without_running_it() -> None:
    module = importlib.import_module("raven.__main__")

    assert callable(module.main)


def test_a_python_without_the_json_encoder_in_c_writes_bodies_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json.encoder, "c_make_encoder", None)

    encode = body._make_encode()

    assert encode({"a": [1, "ä"]}) == body.encode({"a": [1, "ä"]}) == '{"a":[1,"ä"]}'


def test_a_bus_on_a_network_file_system_is_refused_before_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filesystem, "NETWORK_TYPES", frozenset({filesystem.filesystem_type(str(tmp_path))}))

    with pytest.raises(NetworkFilesystemError, match="use a local disk"):
        busfile.prepare(str(tmp_path / "bus.db"), create=True)

    assert not list(tmp_path.iterdir())


def test_a_file_whose_very_folder_is_gone_is_one_that_cannot_be_opened(tmp_path: Path) -> None:
    failure = apsw.exception_for(CANTOPEN)

    error = translate(failure, str(tmp_path / "gone" / "bus.db"), 0)

    assert type(error) is FileMissingError


@pytest.mark.parametrize(("seconds", "text"), [(60, "1m"), (7200, "2h"), (3 * 86400, "3d")])
def test_a_long_span_is_told_in_its_largest_unit(seconds: float, text: str) -> None:
    assert output.span(seconds) == text


@pytest.mark.parametrize(("count", "text"), [(5 << 20, "5.0 MiB"), (3 << 30, "3.0 GiB"), (2048 << 40, "2,048.0 TiB")])
def test_a_large_size_is_told_in_its_largest_unit(count: int, text: str) -> None:
    assert output.size(count) == text


def test_what_was_fetched_without_a_lease_is_not_remembered() -> None:
    known = Holdings()

    known.remember([Claimed(1, None), Claimed(2, 7)])

    assert known.lease_of(1) is None
    assert known.lease_of(2) == 7


def test_of_too_many_leases_the_oldest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holdings, "_MAX_REMEMBERED", 2)
    known = Holdings()

    known.remember([Claimed(id, 7) for id in range(1, 6)])

    assert [known.lease_of(id) for id in range(1, 6)] == [None, None, None, 7, 7]


def test_the_end_of_a_loop_forgets_its_leases_but_not_those_that_others_have_by_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(holdings, "_MAX_REMEMBERED", 2)
    known = Holdings()
    room = known.open_room(7)
    known.remember([Claimed(id, 7) for id in (1, 2, 3)])
    known.remember([Claimed(1, 8)])

    known.close_room(7)

    assert room.ids == {1, 2, 3}
    assert [known.lease_of(id) for id in (1, 2, 3)] == [8, None, None]
