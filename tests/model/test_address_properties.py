"""Addresses by properties: they parse as written, patterns match as documented, and no two share a folder."""

from __future__ import annotations

import os
import tempfile
import unicodedata
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from raven import AddressError, BusClient
from raven.model.address import Address, make_address, parse_address, parse_target, parse_targets
from raven.wake.doorbell import Doorbells, receipt_address
from scripts.stress.injection.texts import addresses

# Few letters, so that addresses are often similar: capitals, composed and decomposed ones, signs of paths and of SQL.
ALIKE = st.text(st.sampled_from("aAäÄ.%_/~ -x\u0308ﬁfiKk\u212a[2e]"), min_size=1, max_size=6)
PARTS = st.one_of(ALIKE, st.text(st.characters(), min_size=1, max_size=20), st.sampled_from(["..", ".", "watch.lock"]))
HALVES = PARTS | st.sampled_from(["", "a:b", "*", " "])


@st.composite
def good_addresses(draw: st.DrawFn) -> str:
    """Return an address that is valid by the documented rule."""
    role, session = draw(PARTS), draw(PARTS)
    assume(all(is_part(part) for part in (role, session)))
    return f"{role}:{session}"


def is_part(part: str) -> bool:
    """Return whether a text is a valid role or session by DESIGN.md."""
    return (
        part != ""
        and not set(part) & {":", "*"}
        and part == part.strip()
        and not any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in part)
    )


def folder_of(address: str) -> str:
    return Doorbells("/bus.db")._folder_of(address)


@settings(max_examples=150, deadline=None, database=None)
@given(good_addresses())
def test_an_address_that_is_written_and_read_is_the_same(text: str) -> None:
    address = parse_address(text)

    assert str(address) == text
    assert make_address(address.session, address.role) == address
    assert parse_targets([text, text]) == {text: address}


@settings(max_examples=150, deadline=None, database=None)
@given(HALVES, HALVES)
def test_exactly_the_addresses_of_the_rule_are_valid(role: str, session: str) -> None:
    try:
        address = parse_target(f"{role}:{session}")
    except AddressError:
        assert not all(part == "*" or is_part(part) for part in (role, session))
        return

    assert address == Address(role, session)
    assert all(part == "*" or is_part(part) for part in (role, session))


@settings(max_examples=150, deadline=None, database=None)
@given(good_addresses(), good_addresses())
def test_two_addresses_have_two_folders_on_every_file_system(one: str, other: str) -> None:
    assume(one != other)

    mine, yours = (unicodedata.normalize("NFKD", folder_of(text)).casefold() for text in (one, other))

    assert mine != yours


@settings(max_examples=150, deadline=None, database=None)
@given(st.one_of(good_addresses(), st.text(st.characters(exclude_categories=["Cs"]))))
def test_a_folder_is_one_plain_name_below_the_bells(address: str) -> None:
    """Also for invalid addresses, because an external writer can store them."""
    folder = folder_of(address)
    name = os.path.basename(folder)

    assert folder == f"/bus.db-bells/{name}"
    assert name not in ("", ".", "..", "watch.lock")
    assert len(name.encode()) <= 255
    assert "\0" not in name


@pytest.mark.parametrize(
    "stored", ["..", ".", "", "*/../../x", "*x", "*1/../x", "watch.lock", "/tmp/x", "a/b", "x" * 600]
)
def test_an_external_writers_recipient_has_a_folder_inside_the_doorbells(stored: str) -> None:
    name = folder_of(stored).removeprefix("/bus.db-bells/")

    assert len(name) == 64
    assert name.isalnum()


def test_the_doorbells_of_observers_and_receipts_are_not_addresses() -> None:
    names = {folder_of(text) for text in addresses()}

    assert len(names) == len(addresses())
    for pseudo in ("*", receipt_address(1), receipt_address((1 << 43) - 1)):
        assert folder_of(pseudo) == f"/bus.db-bells/{pseudo}"
        assert folder_of(pseudo) not in names


@settings(max_examples=20, deadline=None, database=None)
@given(st.lists(good_addresses(), min_size=1, max_size=8, unique=True), st.data())
def test_a_pattern_reaches_exactly_the_addresses_that_match(known: list[str], data: st.DataObject) -> None:
    part = data.draw(st.sampled_from([half for text in known for half in text.split(":")] + ["%", "_", "a"]))
    pattern = data.draw(st.sampled_from([f"*:{part}", f"{part}:*", "*:*"]))
    role, session = pattern.split(":")
    wanted = {
        text
        for text in known
        if (role == "*" or text.split(":")[0] == role) and (session == "*" or text.split(":")[1] == session)
    }

    with (
        tempfile.TemporaryDirectory() as folder,
        closing(BusClient.at("boss:here", Path(folder) / "bus.db", register=False)) as bus,
    ):
        bus.register(*known, "boss:here")
        try:
            reached = set(bus.recipients(bus.send(pattern, "note").id))
        except LookupError:
            reached = set()

    assert reached == wanted - {"boss:here"}
