"""The public names: exactly these, and the modules that importing them loads."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import raven

PUBLIC = [
    "AddressError", "BindError", "BodyError", "Bus", "BusClient", "BusObserver", "BusTransaction", "BusyError",
    "ClosedError", "ConfigError", "CorruptError", "DatabaseError", "DeliveryError", "DiskFullError", "ExpiredError",
    "FileMissingError", "ForbiddenError", "InputError", "LeaseLostError", "LimitError", "LostError",
    "Message", "MessageNotFoundError", "NetworkFilesystemError", "NewerSchemaError", "NotABusError", "NotFoundError",
    "Peer", "Pruned", "RavenError", "ReadOnlyError", "Receipt", "Report", "SchemaRegistry", "SchemaValidationError",
    "ServerError", "State", "StatementError", "Stats", "UndeliveredError", "UnknownAddressError", "UnreachableError",
    "Urgency", "WaitTimeoutError", "__version__",
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


def test_a_name_that_was_public_still_works_and_warns_the_line_that_uses_it() -> None:
    with pytest.warns(DeprecationWarning, match=r"deprecated: use raven.model.address.parse_address") as warned:
        assert str(raven.parse_address("worker:s")) == "worker:s"  # type: ignore[attr-defined]

    assert warned[0].filename == __file__


@pytest.mark.parametrize("name", raven._MOVED)
def test_each_name_that_was_public_leads_to_what_it_is_now(name: str) -> None:
    with pytest.warns(DeprecationWarning, match=f"raven.{name} is deprecated"):
        assert callable(getattr(raven, name)) or name == "AckMode"


@pytest.mark.parametrize("module", ["raven", "raven.errors"])
def test_an_error_by_its_old_name_is_the_same_class(module: str) -> None:
    with pytest.warns(DeprecationWarning, match=f"{module}.HelperError is deprecated: use raven.errors.Ser") as warned:
        exec(f"from {module} import HelperError", names := {})

    assert names["HelperError"] is raven.ServerError
    assert {one.filename for one in warned} == {"<string>"}
    with pytest.raises(names["HelperError"]):
        raise raven.LimitError("too many")


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
