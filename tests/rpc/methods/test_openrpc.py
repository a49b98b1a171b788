"""The OpenRPC document describes every method, and is valid."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from openrpc import OpenRPC

from raven import Message, Receipt
from raven_rpc.methods.openrpc import document
from raven_rpc.methods.table import METHODS

DOCUMENT: dict[str, Any] = document(METHODS)


def described(name: str) -> Any:
    return next(method for method in DOCUMENT["methods"] if method["name"] == name)


def resolvable(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema together with what its references point at."""
    return {**schema, "components": DOCUMENT["components"]}


def test_the_document_fits_the_models_of_the_openrpc_specification() -> None:
    read = OpenRPC.model_validate(json.loads(json.dumps(DOCUMENT)))

    assert [method.name for method in read.methods] == list(METHODS)


def test_every_reference_in_the_document_leads_somewhere() -> None:
    def references(value: Any) -> set[str]:
        if isinstance(value, dict):
            own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
            return own.union(*(references(item) for item in value.values()))
        return set().union(*(references(item) for item in value)) if isinstance(value, list) else set()

    for reference in references(DOCUMENT):
        target: Any = DOCUMENT
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]
        assert target


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_described_with_every_parameter_of_its_model(name: str) -> None:
    fields = [field.alias or key for key, field in METHODS[name].params.model_fields.items()]

    assert [param["name"] for param in described(name)["params"]] == fields
    assert described(name)["summary"].endswith((".", ";"))


@pytest.mark.parametrize("name", METHODS)
def test_the_schemas_of_parameters_are_schemas(name: str) -> None:
    for param in described(name)["params"]:
        jsonschema.Draft202012Validator.check_schema(resolvable(param["schema"]))


def test_a_message_as_it_is_sent_fits_the_described_schema() -> None:
    schema = resolvable({"$ref": "#/components/schemas/Message"})
    times = "2026-01-01T00:00:00.000000Z"
    fields = {
        "id": 1, "sender": "a:s", "recipient": "b:s", "to": ["b:s"], "type": "note", "body": None, "state": "sent",
        "urgency": "prompt", "tags": [], "correlation_id": None, "reply_to": None, "task_id": None, "dedup_key": None,
        "attempts": 0, "created_at": times, "delivered_at": None, "acked_at": None, "expires_at": None,
        "finished_at": None, "reply_address": None, "report": None, "reason": None,
    }  # fmt: skip

    jsonschema.validate(Message.from_dict(fields).as_dict(), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**Message.from_dict(fields).as_dict(), "id": "one"}, schema)


def test_a_receipt_as_it_is_answered_fits_the_described_schema() -> None:
    schema = resolvable({"$ref": "#/components/schemas/Receipt"})
    fields = {
        "recipient": "b:s", "state": "dead", "attempts": 5, "max_attempts": 5, "leased": False, "ready_at": None,
        "delivered_at": "2026-01-01T00:00:00.000000Z", "finished_at": "2026-01-01T00:00:01.000000Z",
        "expires_at": None, "reason": "broken",
    }  # fmt: skip

    jsonschema.validate(Receipt.from_dict(fields).as_dict(), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**fields, "state": "lost"}, schema)
