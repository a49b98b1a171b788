"""rpc/PROTOCOL.md: the tables of parameters, from the OpenRPC document that `rpc.discover` returns."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from raven_rpc.methods.openrpc import document
from raven_rpc.methods.table import METHODS
from scripts.reference.markdown import table

_HEADINGS = ("Parameter", "Type", "Default", "Meaning")
_TYPES = {
    "string": "text", "integer": "number", "number": "number", "boolean": "true or false", "object": "object",
    "null": "null",
}  # fmt: skip


def render(current: str) -> str:
    """Return the document with the table of each method as the server describes it."""
    text = current
    for method in document(METHODS)["methods"]:
        if method["params"]:
            heading = re.escape(f"### `{method['name']}`")
            # The first table below the heading, before any other heading.
            place = re.search(rf"^{heading}\n(?:(?!\||#).*\n)*?((?:\|.*\n)+)", text, re.MULTILINE)
            assert place, f"the section of {method['name']} has no table"
            text = text[: place.start(1)] + table(_HEADINGS, map(_row, method["params"])) + text[place.end(1) :]
    return text


def _row(param: Mapping[str, Any]) -> tuple[str, str, str, str]:
    schema = param["schema"]
    return f"`{param['name']}`", _type(schema), _default(param), schema.get("description", "")


def _default(param: Mapping[str, Any]) -> str:
    schema = param["schema"]
    if param["required"]:
        return ""
    if "x-default" in schema:
        return str(schema["x-default"])
    if "default" not in schema:
        return "`[]`"
    value = schema["default"]
    return f"`{value}`" if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else json.dumps(value)


def _type(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return _either(_type(one) for one in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return "text"
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}s" if schema["items"] else "list"
    return _TYPES[schema["type"]] if "type" in schema else "any"


def _either(types: Iterable[str]) -> str:
    *first, last = dict.fromkeys(types)
    return f"{', '.join(first)} or {last}" if first else last
