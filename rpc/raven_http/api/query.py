"""Query: the parameters of a request, converted to the types of a method's model; in a query all of them are texts."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any
from urllib.parse import parse_qsl

from starlette.types import Scope

from raven.errors import InputError, abbreviate
from raven_http.api.status import BadRequestError
from raven_rpc.methods.params import Params

_MAX_FIELDS = 1000
# Longer numbers are out of any range here, and take long to convert.
_INTEGER = re.compile(r"-?[0-9]{1,40}", re.ASCII)
_NUMBER = re.compile(r"-?[0-9]{1,40}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,2})?", re.ASCII)
_BOOLEANS = {"true": True, "false": False}
_CONVERSIONS: dict[str, tuple[Callable[[str], Any], str]] = {
    "integer": (lambda text: int(text) if _INTEGER.fullmatch(text) else None, "is not a whole number"),
    "number": (lambda text: float(text) if _NUMBER.fullmatch(text) else None, "is not a number"),
    "boolean": (_BOOLEANS.get, "is neither true nor false"),
}


def of(scope: Scope) -> dict[str, list[str]]:
    """Return the values of each parameter in the query of a request; raises BadRequestError for a malformed query."""
    query = scope["query_string"]
    if not query:
        return {}
    try:
        pairs = parse_qsl(
            query.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=_MAX_FIELDS,
        )
    except ValueError:
        raise BadRequestError(
            f"the query {_shown(query)} is not of the form name=value&name=value, with other characters than ASCII "
            f"as %XX of UTF-8, and at most {_MAX_FIELDS:,} names"
        ) from None
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    return values


def refuse(scope: Scope) -> None:
    """Raise BadRequestError if a request has a query, on a route that reads none."""
    if scope["query_string"]:
        raise BadRequestError(f"the query {_shown(scope['query_string'])} is not read by this route: leave it out")


def to_id(text: str) -> int:
    """Return the id of a message that stands in a path; raises BadRequestError."""
    if not _INTEGER.fullmatch(text):
        raise BadRequestError(f"id {abbreviate(text)} is not a whole number")
    return int(text)


def _shown(query: bytes) -> str:
    return abbreviate(query.decode("latin-1"))


def convert(model: type[Params], texts: dict[str, list[str]]) -> dict[str, Any]:
    """Return parameters as the values of a method's model; raises InputError that names the wrong one.

    An unknown parameter stays a text: the model refuses it.
    """
    types = _types(model)
    return {name: _convert(name, values, types.get(name, frozenset())) for name, values in texts.items()}


def with_integers(model: type[Params], params: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of a JSON body, with 1.0 as 1 if an integer is wanted: in JSON they are the same number."""
    for name in _integers(model) & params.keys():
        value = params[name]
        params[name] = [_integral(one) for one in value] if type(value) is list else _integral(value)
    return params


def _integral(value: Any) -> Any:
    return int(value) if type(value) is float and value.is_integer() else value


@cache
def _integers(model: type[Params]) -> frozenset[str]:
    """Return the parameters of a model that are integers, or lists of them."""
    properties = model.model_json_schema().get("properties", {})
    lists = {name for name, schema in properties.items() if schema.get("items") == {"type": "integer"}}
    return frozenset(lists | {name for name, types in _types(model).items() if "integer" in types})


def _convert(name: str, texts: list[str], types: frozenset[str]) -> Any:
    if "array" in types and (len(texts) > 1 or "string" not in types):
        return texts
    if len(texts) > 1:
        raise InputError(f"{abbreviate(name)} is given {len(texts)} times: give it once")
    [text] = texts
    if "string" in types:
        return text
    for kind, (conversion, reason) in _CONVERSIONS.items():
        if kind in types:
            value = conversion(text)
            if value is None:
                raise InputError(f"{name} {abbreviate(text)} {reason}")
            return value
    return text


@cache
def _types(model: type[Params]) -> dict[str, frozenset[str]]:
    """Return the JSON types that each parameter of a model may have."""
    properties = model.model_json_schema().get("properties", {})
    return {
        name: frozenset(str(one.get("type")) for one in schema.get("anyOf", [schema]))
        for name, schema in properties.items()
    }
