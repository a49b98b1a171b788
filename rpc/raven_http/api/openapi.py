"""OpenAPI: the description of all routes, generated from their table and the models of their methods.

https://spec.openapis.org/oas/v3.1.1. The models give types and descriptions; the ranges of the values, which raven
itself checks, stand here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raven.model.limits import MAX_ATTEMPTS, MAX_ID, MAX_SPAN_S
from raven.model.new_message import OPTIONS, check_optional_text
from raven.model.version import __version__
from raven_http.api.status import STATUSES
from raven_http.api.table import ROUTES, Route
from raven_rpc.methods.admin import MAX_ADDRESSES
from raven_rpc.methods.openrpc import SCHEMAS

_Schema = dict[str, Any]
# Neither a colon, an asterisk, a control character nor a separator of lines; at both ends no blank either.
_INNER = r"[^:*\x00-\x1f\x7f-\x9f\u2028\u2029]"
_END = r"[^\s:*\x00-\x1f\x7f-\x9f\u2028\u2029]"
_PART = f"{_END}(?:{_INNER}*{_END})?"
ADDRESS: _Schema = {"pattern": f"^{_PART}:{_PART}$", "maxLength": 512}
_TARGET: _Schema = {"pattern": rf"^(?:\*|{_PART}):(?:\*|{_PART})$", "maxLength": 512}
_TEXT: _Schema = {"pattern": r"\S", "minLength": 1, "maxLength": 1024}
_TYPE: _Schema = {"pattern": r"^(?![Rr][Aa][Vv][Ee][Nn]\.)[\s\S]*\S", "minLength": 1, "maxLength": 1024}
_SPAN: _Schema = {"minimum": 0, "maximum": MAX_SPAN_S}
_LEASE: _Schema = {"exclusiveMinimum": 0, "maximum": 86_400}
_ID: _Schema = {"minimum": 1, "maximum": MAX_ID}
_COUNT: _Schema = {"minimum": 1, "maximum": MAX_ID}
_ONE_ADDRESS = {"string": ADDRESS, "array": {"minItems": 1, "items": {"type": "string", **ADDRESS}}}
# The range of each parameter, by its name and its JSON type.
_RANGES: dict[str, dict[str, _Schema]] = {
    "id": {"integer": _ID},
    "ids": {"array": {"items": {"type": "integer", **_ID}, "maxItems": 1000}},
    "from": _ONE_ADDRESS,
    "role": _ONE_ADDRESS,
    "to": {"string": _TARGET, "array": {"minItems": 1, "items": {"type": "string", **_TARGET}}},
    "type": {"string": _TYPE},
    "tags": {"array": {"items": {"type": "string", **_TEXT}}},
    **{name: {"string": _TEXT} for name, option in OPTIONS.items() if option.check is check_optional_text},
    "reason": {"string": _TEXT},
    "reply_to": {"integer": _ID},
    "expires_in_s": {"number": {**_SPAN, "minimum": 1e-6}},
    "delay_s": {"number": _SPAN},
    "lease_s": {"number": _LEASE},
    "max_attempts": {"integer": {"minimum": 1, "maximum": MAX_ATTEMPTS}},
    "max": {"integer": _COUNT},
}
# A filter may name anything: nothing is found then. Each address of `/dead` is a read of its own.
_RANGES_OF_FILTERS = {name: ranges for name, ranges in _RANGES.items() if name in ("id", "role", "max")}
_MAX_ADDRESSES = {"/dead": MAX_ADDRESSES}
# Descriptions that differ from the descriptions for the socket, where a connection has a memory.
_DESCRIPTIONS = {"lease": "`lease` of the claimed message; without it, the current lease of the recipient"}
_SAMPLES: dict[str, Any] = {
    "/send": {"from": "planner:demo", "to": "coder:demo", "type": "task", "body": {"step": 1}},
    "/claim": {"role": "coder:demo", "max": 10, "lease_s": 60},
    "/ack": {"id": 1, "role": "coder:demo", "lease": 7},
    "/nack": {"id": 1, "role": "coder:demo", "delay_s": 5, "reason": "the build is broken"},
    "/extend": {"id": 1, "role": "coder:demo", "lease_s": 60},
    "/reply/{id}": {"from": "coder:demo", "type": "result", "body": {"ok": True}},
    "/requeue": {"ids": [1]},
}
# Requests that follow another, with the place of the id in its answer.
_LINKS: dict[str, tuple[str, tuple[str, ...]]] = {
    "/send": ("/id", ("message", "receipts", "thread", "reply", "ack")),
    "/reply/{id}": ("/id", ("message", "receipts", "thread", "reply", "ack")),
    "/claim": ("/messages/0/id", ("message", "reply", "extend", "nack", "ack")),
    "/dead": ("/messages/0/id", ("message", "receipts")),
}
_ONE_OF_TWO: dict[str, _Schema] = {
    "/requeue": {
        "oneOf": [
            {"required": ["ids"], "properties": {"ids": {"minItems": 1}, "all": {"const": False}}},
            {"required": ["all"], "properties": {"all": {"const": True}, "ids": {"maxItems": 0}}},
        ]
    }
}
_ERROR: _Schema = {
    "type": "object",
    "description": "The reason why nothing was done.",
    "properties": {
        "error": {"enum": sorted(STATUSES), "description": "the kind of the error"},
        "detail": {"type": "string", "description": "one line with the wrong value and the remedy"},
        "id": {"type": "integer", "description": "the id of the message that does not exist"},
        "fields": {
            "type": "object",
            "additionalProperties": {"type": "string"},
            "description": "of a body that does not fit the schema of its type: each wrong field, and why",
        },
    },
    "required": ["error", "detail"],
}
_REFUSALS: dict[int, str] = {
    400: "The path, the query or the JSON cannot be read.",
    401: "The token is missing or wrong.",
    403: "The request comes from another site, the bridge only reads, or it may not act as this address.",
    404: "The message does not exist, or no address matches the pattern.",
    409: "The state of the delivery forbids it: the lease is lost, or the message is finished.",
    413: "The body is too long.",
    415: "The body is not `application/json`.",
    421: "`Host` names another server than this one.",
    422: "The parameters do not fit, or are over a limit.",
    429: "The client is over its rate, or the mail it has sent is over a limit: try again after `Retry-After`.",
    500: "The bus could not be used.",
    503: "The bus is busy or the server stops: try again after `Retry-After`.",
    507: "The disk is full.",
}
_OF_ALL = (400, 401, 403, 421, 429, 500, 503)
_OF_WRITES = (413, 415, 422, 507)
_OF_DELIVERIES = frozenset({"/ack", "/nack", "/extend", "/requeue", "/reply/{id}"})


def document(*, is_bound: bool = False) -> dict[str, Any]:
    """Return the OpenAPI document of all routes; `is_bound` to one address, the bridge needs no address of callers."""
    paths: dict[str, Any] = {}
    schemas = {name: SCHEMAS[name] for name in ("Message", "Messages", "Receipt", "Receipts", "Peer", "Peers")}
    schemas["MessageWithReceipts"] = _with(SCHEMAS["Message"], "receipts", {"type": "array", "items": _ref("Receipt")})
    for route in ROUTES:
        name = route.method.result_schema
        schemas.setdefault(name, SCHEMAS.get(name, {}))
        paths[route.path] = {route.verb.lower(): _operation(route, is_bound)}
    for path, (summary, kind, answer) in _TEXTS.items():
        paths[path] = {"get": _text_operation(path, summary, kind, answer)}
    paths["/events"]["get"]["parameters"] = [
        _in("query", name, {"description": text, **schema}, False) for name, (text, schema) in _OF_EVENTS.items()
    ]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "raven",
            "version": __version__,
            "summary": "A message bus for agent processes on one host, over HTTP.",
            "description": "GET changes nothing. POST takes its parameters as one JSON object, and is answered after "
            "the commit. `claim` returns a `lease` with each message: give it to `ack`, `nack` and `extend`.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "."}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": {**schemas, "Error": _ERROR},
            "responses": {str(status): _refusal(text) for status, text in _REFUSALS.items()},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "the text in the file `DB.http-token`"}
            },
        },
    }


def parameters(route: Route, *, is_bound: bool = False) -> _Schema:
    """Return the JSON schema of the parameters of a route, but for an id in its path."""
    model = route.method.params.model_json_schema()
    ranges = _RANGES if route.is_write else _RANGES_OF_FILTERS
    properties = {name: _parameter(model["properties"][name], name, ranges.get(name, {})) for name in route.names}
    if route.path in _MAX_ADDRESSES:
        for member in properties["role"]["anyOf"]:
            if member["type"] == "array":
                member["maxItems"] = _MAX_ADDRESSES[route.path]
    required = [name for name in route.names if name in model.get("required", ())]
    if route.caller is not None and not is_bound:
        required.append(route.caller)
        description = properties[route.caller]["description"]
        properties[route.caller] = {"type": "string", "description": description, **ADDRESS}
    schema = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    if "$defs" in model:
        schema["$defs"] = model["$defs"]
    return schema | _ONE_OF_TWO.get(route.path, {})


def _parameter(schema: Mapping[str, Any], name: str, ranges: Mapping[str, _Schema]) -> _Schema:
    """Return the schema of one parameter with its range."""
    bare = {key: value for key, value in schema.items() if key not in ("x-default", "title")}
    if name in _DESCRIPTIONS:
        bare["description"] = _DESCRIPTIONS[name]
    members = [{**one, **ranges.get(str(one.get("type")), {})} for one in bare.get("anyOf", ())]
    return {**bare, "anyOf": members} if members else {**bare, **ranges.get(str(bare.get("type")), {})}


def _operation(route: Route, is_bound: bool) -> _Schema:
    summary, _, more = (route.method.run.__doc__ or "").partition("\n")
    statuses = [*_OF_ALL, *(_OF_WRITES if route.is_write else ())]
    if route.takes_id or route.path in _OF_DELIVERIES or route.path == "/send":
        statuses.append(404)
    if route.path in _OF_DELIVERIES:
        statuses.append(409)
    operation: _Schema = {"operationId": _operation_id(route.path), "summary": summary}
    if more.strip():
        operation["description"] = more.strip()
    schema = parameters(route, is_bound=is_bound)
    path = [
        _in(
            "path", "id", _parameter({"type": "integer", "description": "ID of the message"}, "id", _RANGES["id"]), True
        )
    ]
    operation["parameters"] = path if route.takes_id else []
    if route.is_write:
        content = {"schema": schema, "example": _SAMPLES[route.path]}
        operation["requestBody"] = {"required": True, "content": {_JSON: content}}
    else:
        for name, one in schema["properties"].items():
            operation["parameters"].append(_in("query", name, _query_schema(one), name in schema["required"]))
    result = {_JSON: {"schema": _ref(route.method.result_schema)}}
    done = {"description": "Done.", "content": result, "links": _links(route.path)}
    operation["responses"] = {"200": done, **_references(statuses)}
    return operation


def _links(path: str) -> _Schema:
    place, names = _LINKS.get(path, ("", ()))
    by_path = {_operation_id(route.path) for route in ROUTES if route.takes_id}
    return {
        name: {
            "operationId": name,
            "parameters" if name in by_path else "requestBody": {"id": f"$response.body#{place}"},
        }
        for name in names
    }


def _in(place: str, name: str, schema: _Schema, required: bool) -> _Schema:
    description = schema.pop("description", "")
    return {"name": name, "in": place, "required": required, "description": description, "schema": schema}


def _query_schema(schema: _Schema) -> _Schema:
    """Return the schema of a parameter in a query: texts that may be repeated are an array, and null is no value."""
    members = [one for one in schema.get("anyOf", ()) if one.get("type") != "null"]
    if not members:
        return {key: value for key, value in schema.items() if value is not None or key != "default"}
    arrays = [one for one in members if one.get("type") == "array"]
    texts = [one for one in members if one.get("type") == "string"]
    return {**(arrays or texts or members)[0], "description": schema.get("description", "")}


_JSON = "application/json"
_TEXTS: dict[str, tuple[str, str, _Schema]] = {
    "/health": (
        "Return `ok` if the bus can be read; needs no token.",
        _JSON,
        {
            "type": "object",
            "properties": {"status": {"const": "ok"}, "db": {"type": "string"}, "version": {"type": "string"}},
            "required": ["status", "db", "version"],
        },
    ),
    "/schemas": (
        "Return the JSON schemas of bodies by message type, and of the parameters of each write.",
        _JSON,
        {
            "type": "object",
            "properties": {
                "types": {"type": "object", "additionalProperties": {"type": "object"}},
                "strict": {"type": "boolean", "description": "whether other types are refused"},
                "parameters": {"type": "object", "additionalProperties": {"type": "object"}},
            },
            "required": ["types", "strict", "parameters"],
        },
    ),
    "/metrics": (
        "Return the figures of the bus and of this server as Prometheus text 0.0.4.",
        "text/plain",
        {"type": "string"},
    ),
    "/openapi.json": ("Return this document.", _JSON, {"type": "object"}),
    "/events": (
        "Stream messages, receipts, peers and statistics as server-sent events; `Last-Event-ID` goes on exactly.",
        "text/event-stream",
        {"type": "string"},
    ),
}
_TEXTS_OF_FILTER = {"type": "array", "items": {"type": "string", "minLength": 1}}
_OF_EVENTS: dict[str, tuple[str, _Schema]] = {
    "from": ("ID of the first message; without it only new events come", {"type": "integer", "minimum": 0}),
    "last": ("begin so many ids before the newest message", {"type": "integer", "minimum": 0}),
    "last_event_id": ("`id` of the last event that the client has, for clients that set no header", {"type": "string"}),
    "address": (
        "only messages from or to this address; repeatable",
        {"type": "array", "items": {"type": "string", **ADDRESS}},
    ),
    "session": ("only messages from or to this session; repeatable", _TEXTS_OF_FILTER),
    "type": ("only messages of this type; repeatable", _TEXTS_OF_FILTER),
    "kinds": (
        "only events of these kinds, joined by commas: `message`, `receipt`, `peer`, `stats`, and, if named, `server`",
        {"type": "string"},
    ),
    "preview": ("leave out a body with more characters of JSON, and send its first", {"type": "integer", "minimum": 0}),
}


def _text_operation(path: str, summary: str, kind: str, schema: _Schema) -> _Schema:
    operation: _Schema = {"operationId": _operation_id(path), "summary": summary}
    if path == "/health":
        operation["security"] = []
    answer = {"description": "Done.", "content": {kind: {"schema": schema}}}
    operation["responses"] = {"200": answer, **_references(_OF_ALL)}
    return operation


def _operation_id(path: str) -> str:
    return path[1:].partition("/")[0].partition(".")[0]


def _references(statuses: Sequence[int]) -> _Schema:
    return {str(status): {"$ref": f"#/components/responses/{status}"} for status in sorted(statuses)}


def _refusal(text: str) -> _Schema:
    return {"description": text, "content": {_JSON: {"schema": _ref("Error")}}}


def _ref(name: str) -> _Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _with(schema: _Schema, name: str, of: _Schema) -> _Schema:
    """Return the schema of an object with one more property."""
    return {**schema, "properties": {**schema["properties"], name: of}, "required": [*schema["required"], name]}
