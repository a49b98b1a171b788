"""OpenRPC: the description of all methods, generated from the table of methods and their models.

https://spec.open-rpc.org, version 1.2.6.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, get_args, get_type_hints

from raven.model.message import JSON_KEYS, Message, Report, State, Urgency
from raven.model.version import __version__
from raven_rpc.jsonrpc import errors
from raven_rpc.methods.method import Method

_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}
_TIME = {"type": ["string", "null"], "format": "date-time"}
_TEXT_OR_NULL = {"type": ["string", "null"]}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _list(items: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": dict(items)}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


# The JSON schema of each Python type.
_BY_TYPE: dict[Any, dict[str, Any]] = {
    int: {"type": "integer"},
    str: _TEXT,
    int | None: {"type": ["integer", "null"]},
    str | None: _TEXT_OR_NULL,
    tuple[str, ...]: _list(_TEXT),
    str | tuple[str, ...]: {"oneOf": [_TEXT, _list(_TEXT)]},
    Any: {"description": "any JSON value"},
    State: {"enum": [*get_args(State)]},
    Urgency: {"enum": [*get_args(Urgency)]},
    Report | None: {"enum": [*get_args(Report), None]},
    datetime: _TIME,
    datetime | None: _TIME,
}
_BY_NAME = {"attempts": _COUNT, "status": {"description": "the same as state"}}


def _message() -> dict[str, Any]:
    """Return the schema of a message: its fields, and the derived names, which are texts."""
    types = get_type_hints(Message)
    return _object(**{name: _BY_NAME.get(name) or _BY_TYPE[types.get(name, str)] for name in JSON_KEYS})


SCHEMAS: dict[str, dict[str, Any]] = {
    "Message": _message()
    | {"description": "also lease, if claimed or pushed; waiting and duplicate, in the result of a send"},
    "Receipt": _object(
        recipient=_TEXT,
        state={"enum": ["sent", "delivered", "acked", "expired", "dead"]},
        attempts=_COUNT,
        max_attempts=_COUNT,
        leased={"type": "boolean"},
        ready_at=_TIME,
        delivered_at=_TIME,
        finished_at=_TIME,
        expires_at=_TIME,
        reason=_TEXT_OR_NULL,
        host=_TEXT_OR_NULL,
    ),
    "Peer": _object(
        address=_TEXT,
        role=_TEXT,
        session=_TEXT,
        registered_at=_TIME,
        last_seen=_TIME,
        waiting=_COUNT,
        pending=_COUNT,
        host=_TEXT_OR_NULL,
        held=_COUNT,
        agent=_TEXT_OR_NULL,
        state=_TEXT_OR_NULL,
        cwd=_TEXT_OR_NULL,
        about=_TEXT_OR_NULL,
    ),
    "Messages": _object(messages=_list(_ref("Message"))),
    "Recipients": _object(recipients=_list(_TEXT)),
    "Acked": _object(acked=_list({"type": "integer"})),
    "Nacked": _object(nacked={"type": "integer"}, state={"enum": ["sent", "delivered", "dead"]}),
    "Extended": _object(extended={"type": "integer"}),
    "Receipts": _object(receipts=_list(_ref("Receipt"))),
    "Results": _object(results=_list({"description": "the result of the method"})),
    "Requeued": _object(requeued=_COUNT),
    "Purged": _object(purged=_COUNT),
    "Pruned": _object(messages=_COUNT, bytes=_COUNT, kept=_COUNT, expired=_COUNT, dry_run={"type": "boolean"}),
    "Forgotten": _object(addresses=_COUNT, deliveries=_COUNT),
    "Subscription": _object(subscription={"type": "integer"}),
    "Held": _object(held=_list({"type": "integer"}), leased_until=_TIME),
    "Unsubscribed": _object(unsubscribed={"type": "integer"}),
    "Peers": _object(peers=_list(_ref("Peer"))),
    "Registered": _object(registered=_list(_TEXT)),
    "LastId": _object(id=_COUNT),
    "Hello": _object(**{"as": _TEXT_OR_NULL, "bound": _list(_TEXT), "version": _TEXT}),
    "Pong": {"const": "pong"},
    "Stats": {"type": "object"},
    "OpenRPC": {"type": "object"},
}


def document(methods: Mapping[str, Method]) -> dict[str, Any]:
    """Return the OpenRPC document of a table of methods."""
    described = []
    schemas = dict(SCHEMAS)
    for name, method in methods.items():
        model = method.params.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(model.pop("$defs", {}))
        summary, _, description = (method.run.__doc__ or "").partition("\n")
        required = model.get("required", [])
        described.append(
            {
                "name": name,
                "summary": summary,
                **({"description": description.strip()} if description.strip() else {}),
                "paramStructure": "either",
                "params": [
                    {"name": field, "required": field in required, "schema": schema}
                    for field, schema in model.get("properties", {}).items()
                ],
                "result": {"name": method.result_schema, "schema": _ref(method.result_schema)},
            }
        )
    return {
        "openrpc": "1.2.6",
        "info": {
            "title": "raven",
            "version": __version__,
            "description": "A message bus for agent processes on one host, over a Unix socket: one JSON text per line. "
            "Subscriptions push the notifications message {subscription, message} and end {subscription, reason}.",
            "license": {"name": "MIT"},
        },
        "methods": described,
        "components": {
            "schemas": schemas,
            "errors": {
                entry.kind: {"code": entry.code, "message": entry.text or (kind.__doc__ or "").splitlines()[0]}
                for kind, entry in errors.ERROR_CODES.items()
            },
        },
    }
