"""Usage: what is told to a caller who has given a method the wrong parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def usage(names: Sequence[str]) -> str:
    """Say what a method takes."""
    return f"this method takes {', '.join(names)}" if names else "this method takes nothing"


def mistake(found: Mapping[str, Any]) -> str:
    """Say what is wrong with a parameter, as pydantic describes it."""
    # Behind the name stand places in a list, and names of the members of a union that were tried.
    name = ".".join([str(found["loc"][0]), *(str(part) for part in found["loc"][1:] if isinstance(part, int))])
    if found["type"] == "missing":
        return f"{name!r} is missing"
    return f"{name} {shown(found['input'])}: {found['msg'].lower()}"


def shown(value: Any) -> str:
    """Return a value for a message, as short as need be."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "an array"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
