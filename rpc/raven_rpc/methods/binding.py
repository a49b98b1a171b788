"""Binding: the parameters of a call, checked against the model of its method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from raven.errors import InputError, abbreviate

_M = TypeVar("_M", bound=BaseModel)


def bind(model: type[_M], args: tuple[Any, ...], kwargs: dict[str, Any], usage: Sequence[str] | None = None) -> _M:
    """Check the parameters of a call, by position or by name; raises InputError that names the wrong parameter.

    `usage`: the parameters that the error lists, if the caller does not offer all of the model.
    """
    names = _names(model)
    if args:
        if len(args) > len(names):
            raise InputError(f"{len(args)} parameters are too many: {_usage(names)}")
        kwargs = dict(zip(names, args, strict=False))
    if len(kwargs) > len(names):  # before pydantic, which would note each of a million
        _refuse_unknown(kwargs, names)
    try:
        return model.model_validate(kwargs)
    except ValidationError as error:
        _refuse_unknown(kwargs, names)
        problem = error.errors(include_url=False, include_context=False)[0]
        raise InputError(f"{_describe_error(problem)}; {_usage(names if usage is None else usage)}") from None


@cache
def _names(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _refuse_unknown(kwargs: Mapping[str, Any], names: Sequence[str]) -> None:
    for name in kwargs:
        if name not in names:
            raise InputError(f"{abbreviate(name)} is no parameter here; {_usage(names)}") from None


def _usage(names: Sequence[str]) -> str:
    """Say what a method takes."""
    return f"this method takes {', '.join(names)}" if names else "this method takes nothing"


def _describe_error(problem: Mapping[str, Any]) -> str:
    """Describe a wrong parameter in the words of pydantic."""
    # After the name, `loc` has indexes of a list, and the names of the members of a union that were tried.
    name = ".".join([str(problem["loc"][0]), *(str(part) for part in problem["loc"][1:] if isinstance(part, int))])
    if problem["type"] == "missing":
        return f"{abbreviate(name)} is missing"
    return f"{name} {abbreviate_json(problem['input'])}: {problem['msg'].lower()}"


def abbreviate_json(value: Any) -> str:
    """Return a JSON value for an error text, in at most 60 characters."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "an array"
    return abbreviate(value)
