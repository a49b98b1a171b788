"""The public face: exactly these names, and what they cost to import."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import raven

PUBLIC = [
    "AddressError", "BindError", "BodyError", "Bus", "BusClient", "BusObserver", "BusTransaction", "BusyError",
    "ClosedError", "ConfigError", "CorruptError", "DatabaseError", "DeliveryError", "DiskFullError", "ExpiredError",
    "FileMissingError", "ForbiddenError", "HelperError", "InputError", "LeaseLostError", "LimitError", "LostError",
    "Message", "MessageNotFoundError", "NetworkFilesystemError", "NewerSchemaError", "NotABusError", "NotFoundError",
    "Peer", "Pruned", "RavenError", "ReadOnlyError", "Receipt", "Report", "SchemaRegistry", "SchemaValidationError",
    "State", "StatementError", "Stats", "UndeliveredError", "UnknownAddressError", "UnreachableError", "Urgency",
    "WaitTimeoutError", "__version__",
]  # fmt: skip
HEAVY = {"pydantic", "watchfiles", "asyncio", "jsonrpcserver", "jsonschema", "yaml", "click", "raven_rpc"}


def loaded_after(program: str, *arguments: str) -> set[str]:
    """Return the modules that a fresh interpreter has loaded after a program."""
    program += "\nimport json, sys; print(json.dumps([*sys.modules]))"
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_public_names_are_exactly_these() -> None:
    assert sorted(raven.__all__) == sorted(PUBLIC)


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Train'"):
        raven.Train  # type: ignore[attr-defined]  # noqa: B018


def test_a_user_finds_at_most_45_names_and_no_other() -> None:
    assert len(PUBLIC) <= 45
    assert dir(raven) == sorted(PUBLIC)


def test_a_name_that_programs_of_users_have_no_need_of_is_told_where_it_stands() -> None:
    with pytest.warns(DeprecationWarning, match=r"raven.parse_address stands in raven.model.address now") as told:
        assert str(raven.parse_address("worker:s")) == "worker:s"  # type: ignore[attr-defined]

    assert told[0].filename == __file__


def test_a_star_import_brings_every_public_name() -> None:
    names: dict[str, object] = {}
    exec("from raven import *", names)

    assert set(PUBLIC) <= names.keys()


def test_importing_sending_and_reading_an_inbox_load_nothing_heavy(db: str) -> None:
    program = """
import sys
from raven import BusClient
bus = BusClient("s", "worker", sys.argv[1])
bus.send("worker:s", "note", {"x": 1})
assert bus.inbox()
"""

    assert not loaded_after(program, db) & HEAVY


def test_the_command_that_sends_loads_nothing_it_does_not_need(db: str) -> None:
    program = """
import sys
from raven.cli.app import run
run(["send", "--db", sys.argv[1], "--from", "a:s", "--to", "b:s", "-t", "note"])
"""
    needless = HEAVY - {"click"} | {"difflib", "locale", "logging", "subprocess"}

    assert not loaded_after(program, db) & needless


def test_listening_without_a_wait_for_foreigners_loads_no_event_loop(db: str) -> None:
    program = """
import sys
from raven import BusClient
bus = BusClient("s", "worker", sys.argv[1])
bus.send("worker:s", "note", {"x": 1})
next(iter(bus.listen()))
"""

    assert not loaded_after(program, db) & (HEAVY - {"watchfiles", "asyncio"})
