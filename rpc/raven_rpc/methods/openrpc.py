"""OpenRPC: the description of all methods, made from the table of methods and their models.

https://spec.open-rpc.org, version 1.2.6.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raven.model.version import __version__
from raven_rpc.jsonrpc import errors as faults
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


SCHEMAS: dict[str, dict[str, Any]] = {
    "Message": _object(
        id={"type": "integer"},
        session_id=_TEXT,
        sender=_TEXT,
        recipient=_TEXT,
        recipient_role=_TEXT,
        recipient_session=_TEXT,
        to={"oneOf": [_TEXT, _list(_TEXT)]},
        type=_TEXT,
        body={"description": "any JSON value"},
        state={"enum": ["sent", "delivered", "acked", "expired", "dead"]},
        status={"description": "the same as state"},
        urgency={"enum": ["blocking", "prompt", "fyi"]},
        tags=_list(_TEXT),
        correlation_id=_TEXT_OR_NULL,
        reply_to={"type": ["integer", "null"]},
        task_id=_TEXT_OR_NULL,
        dedup_key=_TEXT_OR_NULL,
        attempts=_COUNT,
        created_at=_TIME,
        delivered_at=_TIME,
        acked_at=_TIME,
        expires_at=_TIME,
        finished_at=_TIME,
        reply_address=_TEXT_OR_NULL,
        report={"enum": ["undelivered", None]},
        reason=_TEXT_OR_NULL,
    )
    | {"description": "also lease, of what was claimed or pushed; waiting and duplicate, of what was sent"},
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
    ),
    "Peer": _object(
        address=_TEXT,
        role=_TEXT,
        session=_TEXT,
        registered_at=_TIME,
        last_seen=_TIME,
        waiting=_COUNT,
        pending=_COUNT,
    ),
    "Messages": _object(messages=_list(_ref("Message"))),
    "Recipients": _object(recipients=_list(_TEXT)),
    "Acked": _object(acked=_list({"type": "integer"})),
    "Nacked": _object(nacked={"type": "integer"}, state={"enum": ["sent", "delivered", "dead"]}),
    "Extended": _object(extended={"type": "integer"}),
    "Receipts": _object(receipts=_list(_ref("Receipt"))),
    "Results": _object(results=_list({"description": "what the method answers"})),
    "Requeued": _object(requeued=_COUNT),
    "Purged": _object(purged=_COUNT),
    "Pruned": _object(messages=_COUNT, bytes=_COUNT, dry_run={"type": "boolean"}),
    "Subscription": _object(subscription={"type": "integer"}),
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
                "result": {"name": method.answers, "schema": _ref(method.answers)},
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
                fault.kind: {"code": fault.code, "message": fault.text or (kind.__doc__ or "").splitlines()[0]}
                for kind, fault in faults.FAULTS.items()
            },
        },
    }
