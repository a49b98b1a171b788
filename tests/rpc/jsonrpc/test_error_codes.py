"""The table of error codes: complete, without duplicates, symmetric, and silent about paths."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest

import raven
import raven.errors
from raven import DatabaseError, InputError, RavenError, SchemaValidationError, ServerError
from raven_rpc.jsonrpc import errors, messages

ERRORS = [
    kind for _, kind in inspect.getmembers(raven.errors, inspect.isclass)
    if issubclass(kind, RavenError) and kind.__module__ == "raven.errors"
]  # fmt: skip
PATH = "/home/someone/secret/bus.db"


def there_and_back(error: BaseException) -> RavenError:
    return errors.from_wire(json.loads(json.dumps(errors.to_wire(error))))


def test_every_error_of_raven_has_a_row_of_its_own_and_nothing_else_has() -> None:
    assert set(errors.ERROR_CODES) == set(ERRORS)
    assert len(ERRORS) > 20


def test_no_kind_stands_for_two_errors_and_no_code_but_that_of_bad_parameters() -> None:
    kinds = [entry.kind for entry in errors.ERROR_CODES.values()]
    codes = [entry.code for entry in errors.ERROR_CODES.values() if entry.code != messages.INVALID_PARAMS]

    assert len(set(kinds)) == len(kinds)
    assert len(set(codes)) == len(codes)
    # https://www.jsonrpc.org/specification#error_object: the range for servers.
    assert all(-32099 <= code <= -32000 for code in codes)


def test_a_kind_that_the_specification_names_too_has_its_code() -> None:
    codes = {entry.kind: entry.code for entry in errors.ERROR_CODES.values()}

    for code, (kind, _) in errors.STANDARD.items():
        assert codes.get(kind, code) == code


@pytest.mark.parametrize("retryable", [True, False])
@pytest.mark.parametrize("kind", ERRORS)
def test_an_error_is_of_the_same_class_and_as_retryable_at_the_other_end(
    kind: type[RavenError], retryable: bool
) -> None:
    error = kind("what is wrong")
    error.retryable = retryable

    decoded = there_and_back(error)

    assert type(decoded) is kind
    assert decoded.retryable is retryable


@pytest.mark.parametrize("kind", ERRORS)
def test_an_error_is_as_retryable_on_the_wire_as_its_class_says(kind: type[RavenError]) -> None:
    assert errors.to_wire(kind("x"))["data"]["retryable"] is kind.retryable


def test_the_fields_of_a_schema_error_come_through() -> None:
    fields = {"step": "input should be a valid integer", "names.0": "is missing"}

    decoded = there_and_back(SchemaValidationError("body of 'plan' does not fit", fields))

    assert isinstance(decoded, SchemaValidationError)
    assert (str(decoded), decoded.fields) == ("body of 'plan' does not fit", fields)


@pytest.mark.parametrize("call", [0, 7, None])
def test_the_number_of_the_call_that_failed_in_a_transaction_comes_through(call: int | None) -> None:
    error = raven.BodyError("too long")
    error.call = call

    assert errors.to_wire(error)["data"].get("call", "none") == ("none" if call is None else call)
    assert there_and_back(error).call == call


@pytest.mark.parametrize("encoded", [True, "7", 1.0, [], None])
def test_what_is_no_number_of_a_call_is_passed_over(encoded: Any) -> None:
    assert errors.from_wire({"code": -1, "message": "m", "data": {"kind": "body", "call": encoded}}).call is None


@pytest.mark.parametrize("kind", [kind for kind in ERRORS if issubclass(kind, InputError | raven.NotFoundError)])
def test_an_input_error_keeps_its_own_text(kind: type[RavenError]) -> None:
    assert str(there_and_back(kind("address 'x' has no ':'"))) == "address 'x' has no ':'"


def test_a_subclass_travels_as_the_nearest_class_that_the_table_knows() -> None:
    class NewError(raven.BusyError):
        pass

    assert errors.to_wire(NewError(PATH))["data"] == {"kind": "busy", "retryable": True}


@pytest.mark.parametrize(
    "kind",
    [kind for kind in ERRORS if issubclass(kind, DatabaseError)]
    + [RavenError, raven.ConfigError, raven.ClosedError, raven.BindError, OSError, KeyError, ValueError, Exception],
)
def test_no_path_leaves_the_server_with_an_error_of_the_store_or_a_foreign_one(kind: type[Exception]) -> None:
    encoded = json.dumps(errors.to_wire(kind(f"the bus {PATH} cannot be used")))

    assert "secret" not in encoded
    assert "bus.db" not in encoded


@pytest.mark.parametrize("error", [ValueError("x"), RecursionError("x"), KeyboardInterrupt(), MemoryError()])
def test_an_error_that_is_not_raven_s_is_internal_without_details(error: BaseException) -> None:
    encoded = errors.to_wire(error)

    assert (encoded["code"], encoded["message"]) == (-32603, "Internal error")
    assert type(error).__name__ not in json.dumps(encoded)


@pytest.mark.parametrize("code", errors.STANDARD)
def test_an_error_of_the_specification_has_its_words_and_the_reason(code: int) -> None:
    kind, message = errors.STANDARD[code]
    encoded = errors.standard(code, "why")

    assert encoded == {"code": code, "message": message, "data": {"kind": kind, "retryable": False, "reason": "why"}}
    assert str(errors.from_wire(encoded)) == f"{message}: why"


@pytest.mark.parametrize(
    "error_object",
    [None, 1, "x", [], {}, {"code": -32099, "message": "new"}, {"message": None, "data": 1}, {"data": {"kind": []}},
     {"code": -1, "message": "m", "data": {"kind": "from_the_future", "retryable": True}},
     {"data": {"kind": "schema_validation"}}],
)  # fmt: skip
def test_whatever_comes_as_an_error_becomes_an_error_of_raven(error_object: Any) -> None:
    assert isinstance(errors.from_wire(error_object), ServerError | SchemaValidationError)


def test_an_unknown_kind_keeps_its_words_and_whether_it_may_be_tried_again() -> None:
    decoded = errors.from_wire({"code": -32050, "message": "new", "data": {"kind": "new_kind", "retryable": True}})

    assert (type(decoded), str(decoded), decoded.retryable) == (ServerError, "new", True)
